"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const button = document.getElementById("mode");
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  // On a narrow screen the legend has a line for each entry.
  const extra = window.innerWidth < 520 ? 90 : 0;

  function show(mode) {
    document.documentElement.dataset.mode = mode;
    button.textContent = mode === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${button.textContent.toLowerCase()} colours`);
    page.figures.forEach((figure, index) => {
      const layout = { ...figure.layout, height: figure.layout.height + extra, template: page.templates[mode] };
      Plotly.react(`panel-${index}`, figure.data, layout, page.config);
    });
  }

  button.addEventListener("click", () => {
    show(document.documentElement.dataset.mode === "dark" ? "light" : "dark");
  });
  system.addEventListener("change", () => show(system.matches ? "dark" : "light"));
  show(system.matches ? "dark" : "light");
})();
