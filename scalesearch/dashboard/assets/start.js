// The page begins: its own data where it carries them, else whatever `scalesearchUpdate` is given.

const PATIENCE = 20_000; // milliseconds until a server that says nothing is missed

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

// What hinders the page, above all else; no words where nothing does.
const troubles = { data: "", server: "" };

function tell(kind, words) {
  troubles[kind] = words;
  const box = document.getElementById("trouble");
  const all = Object.values(troubles).filter(Boolean).join(" ");
  if (box.textContent !== all) box.textContent = all;
  box.hidden = !all;
}

async function take(unpacked) {
  try {
    await unpacked();
    tell("data", "");
  } catch (error) {
    tell("data", `The data of this page cannot be read: ${error.message}.`);
  }
}

// Unpacking takes its time; no text may overtake one that came before it.
let last = Promise.resolve();
window.scalesearchUpdate = (text) => {
  last = last.then(() => take(() => updateAll(text)));
};

// Dash never asks again after a request without any answer, so that one stands in for it.
function watchServer() {
  const ask = window.fetch;
  let answered = new Date();
  const silent = () => tell("server", `No answer from the server since ${answered.toLocaleTimeString()}: what is shown may be old.`);
  window.fetch = async (...request) => {
    const late = setTimeout(silent, PATIENCE);
    const answer = await ask(...request).catch(() => new Response(null, { status: 503 }));
    clearTimeout(late);
    if (!answer.ok) silent();
    else {
      answered = new Date();
      tell("server", "");
    }
    return answer;
  };
}

const carried = document.getElementById("data");
if (carried) take(async () => update(await unpack(carried.textContent)));
else watchServer();
