// A promise of the chart library. Reading it keeps a browser busy for a while: the figures' data is asked for first.
"use strict";
(() => {
  let promise = null;
  window.gyrostatPlotly = () => (promise ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.querySelector("#plotly").href;
    script.addEventListener("load", () => resolve());
    script.addEventListener("error", () => reject(new Error("The chart library could not be loaded.")));
    document.head.append(script);
  }));
  // where no chart is on the screen yet, it is at hand when one comes
  addEventListener("load", () => setTimeout(() => window.gyrostatPlotly().catch(() => {}), 500));
})();
