// Keeps a page current: listens to the event stream, fetches the page's fragment, takes over what has changed.
"use strict";
(() => {
  const region = document.querySelector("[data-fragment]");
  const connection = document.querySelector("#connection");
  const announcer = document.querySelector("#announcer");
  const PAUSE = 800; // milliseconds between two fetches of the fragment
  let timer = null;
  let fetched = performance.now();
  let fetching = false;
  let again = false;

  function show(state, text, title) {
    connection.hidden = false;
    connection.dataset.state = state;
    connection.querySelector(".word").textContent = text;
    connection.title = title;
  }

  function append(old, fresh) {
    for (const child of [...fresh.children]) {
      const known = document.getElementById(child.id);
      if (!known) old.append(child);
      else if (child.dataset.merge === "append") append(known, child);
    }
  }

  // Children by their ids: what is still there stays as it is, whatever scripts have made of it.
  function keyed(old, fresh) {
    const wanted = new Set([...fresh.children].map((child) => child.id));
    for (const child of [...old.children]) if (!wanted.has(child.id)) child.remove();
    let place = old.firstElementChild;
    for (const child of [...fresh.children]) {
      const known = [...old.children].find((each) => each.id === child.id);
      if (known && known === place) place = place.nextElementSibling;
      else old.insertBefore(known ?? child, place);
    }
  }

  function merge(html) {
    const parsed = new DOMParser().parseFromString(html, "text/html");
    for (const fresh of [...parsed.body.children]) {
      const old = document.getElementById(fresh.id);
      if (!old) continue;
      if (fresh.dataset.merge === "append") append(old, fresh);
      else if (fresh.dataset.merge === "keyed") keyed(old, fresh);
      else window.gyrostatMorph(old, fresh);
    }
    ages();
    document.dispatchEvent(new CustomEvent("gyrostat:merged"));
  }

  async function refresh() {
    timer = null;
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    fetched = performance.now();
    try {
      const answer = await fetch(region.dataset.fragment, { headers: { Accept: "text/html" } });
      if (answer.ok) merge(await answer.text());
      else if (answer.status === 404 && region.dataset.run) location.assign("/");
    } catch {
      show("lost", "Reconnecting", "The service cannot be reached; this page shows what it last heard.");
    }
    fetching = false;
    if (again) soon();
    again = false;
  }

  function soon() {
    if (timer === null) timer = setTimeout(refresh, Math.max(0, fetched + PAUSE - performance.now()));
  }

  function ages() {
    for (const time of document.querySelectorAll("time[data-age]")) {
      const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
      const [length, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([each]) => seconds >= each) || [1, "s"];
      time.textContent = seconds < 10 ? "just now" : `${Math.floor(seconds / length)} ${unit} ago`;
    }
  }

  function listen() {
    const source = new EventSource(region.dataset.events);
    source.addEventListener("open", () => {
      show("live", "Live", "Connected: this page updates by itself.");
      soon(); // whatever happened between drawing the page and listening
    });
    source.addEventListener("error", () => show("lost", "Reconnecting", "The stream of events was interrupted."));
    for (const kind of ["state", "alert", "frames", "checkpoint", "samples", "measurement", "intervention", "probe_disabled"]) {
      source.addEventListener(kind, (event) => {
        const data = JSON.parse(event.data);
        if (kind === "state" && data.new === "deleted" && region.dataset.run) return location.assign("/");
        soon();
        if (kind === "frames") document.dispatchEvent(new CustomEvent("gyrostat:frames", { detail: data }));
        if (kind === "alert" && data.change === "opened") announcer.textContent = `New ${data.severity} alert: ${data.kind}. ${data.summary || ""}`;
        if (kind === "state" && region.dataset.run) announcer.textContent = `The run is ${data.new}.`;
      });
    }
    addEventListener("pagehide", () => source.close());
  }

  setInterval(ages, 15000);
  document.addEventListener("gyrostat:refresh", soon);
  if (region) listen();
})();
