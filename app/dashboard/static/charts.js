// Draws the panels that are on screen, and again at most once a second when new frames have arrived.
"use strict";
(() => {
  const panels = document.querySelector("#panels");
  const view = { from: null, to: null, smooth: 0, revision: 0 };
  const visible = new Set();
  const shown = new WeakMap(); // panel -> what it shows
  const busy = new WeakSet();
  const PAUSE = 900;
  const config = { displayModeBar: false, responsive: false, doubleClick: false, showTips: false };
  let timer = null;

  // What a measurement on demand found does not change with the steps that follow.
  const isStill = (panel) => panel.dataset.still !== undefined;
  const keyOf = (panel) => `${address(panel)}#${isStill(panel) ? panel.clientWidth : view.revision}`;

  function address(panel) {
    const plot = panel.querySelector(".plot");
    const query = new URLSearchParams({ theme: window.gyrostatTheme() });
    if (!isStill(panel)) {
      query.set("points", Math.max(50, Math.min(2000, plot.clientWidth)));
      if (view.from !== null) query.set("from", view.from);
      if (view.to !== null) query.set("to", view.to);
      if (view.smooth > 0) query.set("smooth", view.smooth);
    }
    const log = panel.querySelector("[data-log]");
    if (log) query.set("log", log.getAttribute("aria-pressed"));
    return `${panel.dataset.src}?${query}`;
  }

  function say(panel, text, isError) {
    const message = panel.querySelector(".message");
    message.hidden = !text;
    message.querySelector("span").textContent = text;
    message.querySelector("[data-retry]").hidden = !isError;
  }

  async function draw(panel) {
    const url = address(panel);
    const key = keyOf(panel);
    if (shown.get(panel) === key || busy.has(panel)) return;
    busy.add(panel);
    panel.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(url);
      const figure = await answer.json();
      if (!answer.ok) throw new Error(figure.detail || `The service answered ${answer.status}.`);
      await window.gyrostatPlotly;
      await show(panel, figure);
      shown.set(panel, key);
    } catch (error) {
      say(panel, error instanceof TypeError ? "The service cannot be reached." : error.message, true);
    } finally {
      busy.delete(panel);
      panel.setAttribute("aria-busy", "false");
      panel.dataset.drawn = "";
      if (shown.has(panel) && visible.has(panel) && shown.get(panel) !== keyOf(panel)) later();
    }
  }

  function keyEntry([label, colour, dashed]) {
    const entry = document.createElement("span");
    const swatch = document.createElement("i");
    swatch.style.borderTop = `2px ${dashed ? "dashed" : "solid"} ${colour}`;
    entry.append(swatch, label);
    return entry;
  }

  async function show(panel, figure) {
    const plot = panel.querySelector(".plot");
    plot.setAttribute("aria-label", `${panel.querySelector("h3").textContent}. ${figure.summary}`);
    panel.querySelector(".hint").textContent = figure.note || panel.querySelector(".hint").title;
    panel.querySelector(".key").replaceChildren(...figure.key.map(keyEntry));
    if (!figure.data.length) {
      say(panel, figure.summary, false);
      if (plot.data) Plotly.purge(plot);
      return;
    }
    say(panel, "", false);
    figure.layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    Object.assign(figure.layout, { width: plot.clientWidth, height: plot.clientHeight });
    const isNew = !plot.data;
    await Plotly.react(plot, figure.data, figure.layout, config);
    if (isNew) panel.dispatchEvent(new CustomEvent("gyrostat:plotted", { bubbles: true, detail: plot }));
  }

  function drawVisible() {
    timer = null;
    visible.forEach(draw);
  }

  function later() {
    if (timer === null) timer = setTimeout(drawVisible, PAUSE);
  }

  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) visible.add(entry.target);
      else visible.delete(entry.target);
    }
    drawVisible();
  }, { rootMargin: "120px" });
  const sizes = new ResizeObserver(later);

  function watch() {
    for (const panel of document.querySelectorAll(".panels > .panel:not([data-watched])")) {
      panel.dataset.watched = "";
      sight.observe(panel);
      sizes.observe(panel.querySelector(".plot"));
      document.querySelector("#no-panels")?.remove();
    }
  }

  window.gyrostatCharts = { view, drawVisible, draw, visible };
  document.addEventListener("gyrostat:theme", drawVisible);
  document.addEventListener("gyrostat:merged", watch);
  document.addEventListener("gyrostat:frames", (event) => {
    if (event.detail.run !== panels.dataset.run) return;
    view.revision = event.detail.revision;
    later();
  });
  watch();
})();
