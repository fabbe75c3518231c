// The page begins: its own data where it carries them, else whatever `scalesearchUpdate` is given.

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return unfold(JSON.parse(await new Response(stream).text()))[0];
}

const system = window.matchMedia("(prefers-color-scheme: dark)");
system.addEventListener("change", () => setMode(system.matches ? "dark" : "light"));
document.getElementById("mode").addEventListener("click", () => setMode(state.mode === "dark" ? "light" : "dark"));
setMode(system.matches ? "dark" : "light");

// A width is known only once the browser has laid the page out again.
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  requestAnimationFrame(redraw);
});

// A page that is served: its heading and first screen change too.
async function updateAll(text) {
  const data = await unpack(text);
  document.title = data.title;
  for (const part of ["title", "eyebrow", "notice"]) document.getElementById(part).textContent = data[part] ?? "";
  document.getElementById("notice").hidden = !data.notice;
  document.getElementById("screen").innerHTML = data.screen; // escaped where it was written
  update(data);
}

window.scalesearchUpdate = updateAll;
const carried = document.getElementById("data");
if (carried) unpack(carried.textContent).then(update);
