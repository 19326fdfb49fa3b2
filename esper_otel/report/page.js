"use strict";
(() => {
  const PRINT_WIDTH_PX = 700; // what A4 upright holds between its margins
  const charts = [...document.querySelectorAll(".chart")];
  const figures = new Map(charts.map((el) => [el, JSON.parse(document.getElementById(el.dataset.figure).textContent)]));

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function theme() {
    const axis = {
      gridcolor: colour("--grid"), zerolinecolor: colour("--line"), linecolor: colour("--line"),
      tickcolor: colour("--line"), automargin: true,
    };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: "system-ui, sans-serif", size: 12, color: colour("--ink") },
        hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
        modebar: { color: colour("--soft"), activecolor: colour("--accent"), bgcolor: "rgba(0,0,0,0)" },
        xaxis: axis, yaxis: axis,
      },
    };
  }

  function coloured(trace) {
    if (trace.meta === undefined) return trace;
    const palette = colour("--series").split(" ");
    const own = palette[trace.meta.series % palette.length];
    const dots = trace.mode.includes("markers") ? { marker: { color: own } } : {};
    const room = trace.fill === "tonexty" ? { fillcolor: `${own}30` } : {};
    return { ...trace, line: { ...trace.line, color: own }, ...dots, ...room };
  }

  function draw(el, width) {
    const { data, layout } = figures.get(el);
    const size = width ? { width, autosize: false } : { width: el.clientWidth || undefined, autosize: true };
    const config = {
      displaylogo: false, responsive: true, showTips: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    };
    return Plotly.react(el, data.map(coloured), { ...layout, ...size, template: theme() }, config);
  }

  // a chart is drawn when it comes near the screen: a long page opens at once
  const drawn = new Set();
  const watcher = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => first(target)),
    { rootMargin: "600px" },
  );
  function first(el) {
    watcher.unobserve(el);
    if (!drawn.has(el)) { drawn.add(el); draw(el); }
  }
  charts.forEach((el) => watcher.observe(el));

  const again = () => drawn.forEach((el) => draw(el));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.matchMedia("print").addEventListener("change", ({ matches }) => (matches ? paper() : again()));
  window.addEventListener("beforeprint", paper);
  window.addEventListener("afterprint", again);
  function paper() {
    charts.forEach((el) => { watcher.unobserve(el); drawn.add(el); draw(el, PRINT_WIDTH_PX); });
  }
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(again, 150);
  });
})();
