// What ties the charts of a page together: one zoom on the step axis, one cursor, smoothing, size.
"use strict";
(() => {
  const panels = document.querySelector("#panels");
  const { view, drawVisible, draw } = window.gyrostatCharts;
  const first = document.querySelector("#from-step");
  const last = document.querySelector("#to-step");
  const reset = document.querySelector("#reset-zoom");
  const smooth = document.querySelector("#smooth");

  function zoom(from, to) {
    view.from = from === null ? null : Math.max(0, Math.round(from));
    view.to = to === null ? null : Math.max((view.from ?? 0) + 1, Math.round(to));
    first.value = view.from ?? "";
    last.value = view.to ?? "";
    reset.hidden = view.from === null && view.to === null;
    drawVisible();
  }

  function typed(field) {
    return field.value === "" ? null : Number(field.value);
  }

  function cursors(step, source) {
    for (const plot of panels.querySelectorAll(".plot.js-plotly-plot")) {
      let line = plot.parentElement.querySelector(".cursor-line");
      if (step === null || plot === source || !plot._fullLayout?.xaxis) {
        line?.remove();
        continue;
      }
      const axis = plot._fullLayout.xaxis;
      const place = axis.l2p(step);
      if (!line) {
        line = document.createElement("div");
        line.className = "cursor-line";
        plot.append(line);
      }
      line.hidden = place < 0 || place > axis._length;
      line.style.left = `${axis._offset + place}px`;
    }
  }

  panels.addEventListener("gyrostat:plotted", ({ detail: plot }) => {
    plot.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change) zoom(change["xaxis.range[0]"], change["xaxis.range[1]"]);
    });
    plot.on("plotly_doubleclick", () => zoom(null, null));
    plot.on("plotly_hover", (event) => cursors(event.points[0].x, plot));
    plot.on("plotly_unhover", () => cursors(null, plot));
  });

  document.addEventListener("click", (event) => {
    const panel = event.target.closest(".panel");
    const log = event.target.closest("[data-log]");
    if (log) {
      const on = log.getAttribute("aria-pressed") !== "true";
      log.setAttribute("aria-pressed", String(on));
      log.textContent = on ? "log" : "linear";
      draw(panel);
    }
    const expand = event.target.closest("[data-expand]");
    if (expand) expand.setAttribute("aria-expanded", String(panel.classList.toggle("expanded")));
    if (event.target.closest("[data-retry]")) draw(panel);
  });

  smooth.addEventListener("input", () => {
    view.smooth = Number(smooth.value);
    document.querySelector("#smooth-value").textContent = view.smooth.toFixed(2);
  });
  smooth.addEventListener("change", drawVisible);
  for (const field of [first, last]) field.addEventListener("change", () => zoom(typed(first), typed(last)));
  reset.addEventListener("click", () => zoom(null, null));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]") && !reset.hidden) zoom(null, null);
  });
})();
