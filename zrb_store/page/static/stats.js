"use strict";
/* The last runs of each task as bars: how long each took, coloured by how it ended. */
(() => {
  const STATUSES = ["completed", "failed", "interrupted", "lost"];
  const HEIGHT = 48;
  const drawn = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function draw(element, { told, runs }) {
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", Page.printable(told));
    element.replaceChildren();
    if (!runs.length) {
      element.append("-");
      return;
    }
    const note = Page.el("div", { class: "run", "aria-hidden": "true" });
    const width = Math.max(60, element.clientWidth || 240);
    const places = Math.max(runs.length, 30);
    // A run of no length is still seen.
    const least = Math.max(...runs.map((run) => run.seconds)) / 24;
    const xs = runs.map((_, place) => places - runs.length + place);
    const data = [xs, ...STATUSES.map((name) => runs.map((run) => (run.status === name ? Math.max(run.seconds, least, 1e-6) : null)))];
    const over = (plot) => runs[plot.cursor.idx];
    new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [2, 0, 0, 0],
        legend: { show: false },
        axes: [{ show: false }, { show: false }],
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { time: false, range: () => [-0.5, places - 0.5] }, y: { range: (_, __, most) => [0, most || 1] } },
        series: [
          {},
          ...STATUSES.map((name) => ({
            fill: colour(name), stroke: colour(name), width: 0, points: { show: false },
            paths: uPlot.paths.bars({ size: [0.75, 12] }),
          })),
        ],
        hooks: {
          setCursor: [
            (plot) => {
              const run = over(plot);
              note.textContent = run && plot.cursor.left >= 0 ? Page.printable(run.told) : "";
            },
          ],
          ready: [
            (plot) => plot.over.addEventListener("click", () => {
              const run = over(plot);
              if (run) location.href = `session?${new URLSearchParams({ name: run.session })}`;
            }),
          ],
        },
      },
      data,
      element,
    );
    element.append(note);
  }

  function drawAll(again) {
    const all = JSON.parse(document.getElementById("runs").textContent);
    for (const element of document.querySelectorAll(".plot")) {
      const runs = all[element.dataset.runs] || { told: "no runs lately", runs: [] };
      const text = JSON.stringify(runs);
      if (!again && drawn.get(element) === text) continue;
      drawn.set(element, text);
      draw(element, runs);
    }
  }

  drawAll(true);
  Page.on("fresh", () => drawAll(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(true));
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) drawAll(true);
    width = innerWidth;
  });
})();
