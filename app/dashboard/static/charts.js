// Draws the panels that are on screen, and again at most once a second when new frames have arrived.
"use strict";
(() => {
  const { run } = document.querySelector("#panels").dataset;
  const view = { from: null, to: null, smooth: 0, revision: 0 };
  const visible = new Set();
  const shown = new WeakMap(); // panel -> what it shows
  const busy = new WeakSet();
  const PAUSE = 900;
  const AT_ONCE = 8;
  const config = { displayModeBar: false, responsive: false, doubleClick: false, showTips: false };
  let timer = null;
  let drawn = performance.now();

  // What a measurement on demand found does not change with the steps that follow.
  const isStill = (panel) => panel.dataset.still !== undefined;
  const scaleOf = (panel) => panel.querySelector("[data-log]")?.getAttribute("aria-pressed");
  const keyOf = (panel) => [queryOf(panel), scaleOf(panel), panel.clientWidth, isStill(panel) || view.revision].join();

  // In hundreds of points: people with windows of about the same width see the same charts, made once for all of them.
  function queryOf(panel) {
    const query = new URLSearchParams({ theme: window.gyrostatTheme() });
    if (isStill(panel)) return query;
    query.set("points", Math.max(100, Math.min(2000, 100 * Math.ceil(panel.querySelector(".plot").clientWidth / 100))));
    if (view.from !== null) query.set("from", view.from);
    if (view.to !== null) query.set("to", view.to);
    if (view.smooth > 0) query.set("smooth", view.smooth);
    return query;
  }

  function slugOf(panel) {
    const scale = { true: ",log", false: ",linear" }[scaleOf(panel)] ?? "";
    return panel.id.slice("panel-".length) + scale;
  }

  function say(panel, text, isError) {
    const message = panel.querySelector(".message");
    message.hidden = !text;
    message.querySelector("span").textContent = text;
    message.querySelector("[data-retry]").hidden = !isError;
  }

  // Charts with the same query come in one answer, few enough that the first are soon there.
  function draw(...panels) {
    const due = panels.filter((panel) => !busy.has(panel) && shown.get(panel) !== keyOf(panel));
    for (const panel of due.filter(isStill)) {
      const query = queryOf(panel);
      if (scaleOf(panel)) query.set("log", scaleOf(panel));
      take([panel], `${panel.dataset.still}?${query}`, (figure) => figure);
    }
    const groups = Map.groupBy(due.filter((panel) => !isStill(panel)), (panel) => String(queryOf(panel)));
    for (const [query, group] of groups) {
      for (let start = 0; start < group.length; start += AT_ONCE) {
        const some = group.slice(start, start + AT_ONCE);
        const chosen = some.map((panel) => `&panel=${encodeURIComponent(slugOf(panel))}`).join("");
        take(some, `/runs/${run}/panels?${query}${chosen}`, (figures, panel) => figures[panel.id.slice("panel-".length)]);
      }
    }
  }

  async function take(panels, url, figureOf) {
    const keys = panels.map(keyOf);
    for (const panel of panels) {
      busy.add(panel);
      panel.setAttribute("aria-busy", "true");
    }
    const answer = fetched(url);
    for (const [place, panel] of panels.entries()) {
      try {
        await show(panel, figureOf(await answer, panel));
        shown.set(panel, keys[place]);
      } catch (error) {
        say(panel, error instanceof TypeError ? "The service cannot be reached." : error.message, true);
      }
      busy.delete(panel);
      panel.setAttribute("aria-busy", "false");
      panel.dataset.drawn = "";
      if (shown.has(panel) && visible.has(panel) && shown.get(panel) !== keyOf(panel)) later();
      await new Promise((resolve) => setTimeout(resolve)); // each is painted before the next is made
    }
  }

  async function fetched(url) {
    const asked = fetch(url);
    const library = window.gyrostatPlotly();
    library.catch(() => {}); // it is told of below, unless the data fails first
    const answer = await asked;
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.detail || `The service answered ${answer.status}.`);
    await library;
    return content;
  }

  function keyEntry([label, colour, dashed]) {
    const entry = document.createElement("span");
    const swatch = document.createElement("i");
    swatch.style.borderTop = `2px ${dashed ? "dashed" : "solid"} ${colour}`;
    entry.append(swatch, label);
    return entry;
  }

  async function show(panel, figure) {
    if (figure.failed) throw new Error(figure.failed);
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
    drawn = performance.now();
    draw(...visible);
  }

  function later() {
    if (timer === null) timer = setTimeout(drawVisible, Math.max(0, drawn + PAUSE - performance.now()));
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
    if (event.detail.run !== run) return;
    view.revision = event.detail.revision;
    later();
  });
  watch();
})();
