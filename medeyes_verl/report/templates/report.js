"use strict";
// Charts in the colours of the reader's scheme, and the gallery's filters and pages. Without scripts the page still
// shows every card.

const PAGE = 4; // cards on a page of the gallery
const LIGHT = { ink: "#1d1f23", line: "#d9dce1", traces: ["#1c5fb0", "#c8481c", "#157a3e", "#8a4fbf", "#a06a00", "#00818f"] };
const DARK = { ink: "#d5d9e0", line: "#343a44", traces: ["#7fb3f5", "#ff9a6b", "#6fd39a", "#cba0f5", "#e3b04b", "#5fd0dc"] };

const dark = matchMedia("(prefers-color-scheme: dark)");
const print = matchMedia("print");
const allTraces = JSON.parse(document.getElementById("traces").textContent);

function draw(printing) {
  const scheme = dark.matches && !printing ? DARK : LIGHT;
  allTraces.forEach((traces, number) => {
    const coloured = traces.map((trace) => {
      const colour = scheme.traces[trace.meta % scheme.traces.length];
      return { ...trace, line: { ...trace.line, color: colour }, marker: { color: colour, size: 5 } };
    });
    // a legend needs up to a row a line, and must not eat into the plot
    const legendRows = traces.filter((trace) => trace.showlegend).length;
    const axis = { gridcolor: scheme.line, zerolinecolor: scheme.line, automargin: true, fixedrange: false };
    Plotly.react(`chart-${number}`, coloured, {
      height: 208 + 19 * legendRows,
      margin: { l: 8, r: 8, t: 8, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: scheme.ink, size: 11, family: "system-ui, sans-serif" },
      xaxis: { ...axis, title: { text: "step", standoff: 4 }, rangemode: "tozero" },
      yaxis: { ...axis, nticks: 5 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, maxheight: 0.9 },
      hovermode: "x unified",
      hoverlabel: { bgcolor: scheme === DARK ? "#1d2026" : "#ffffff" },
    }, { displayModeBar: false, responsive: true });
  });
}

draw(false);
dark.addEventListener("change", () => draw(false));
print.addEventListener("change", () => draw(print.matches));
window.addEventListener("beforeprint", () => draw(true));
window.addEventListener("afterprint", () => draw(false));

const filters = document.getElementById("filters");
if (filters) {
  const cards = [...document.querySelectorAll(".card")];
  const previous = document.getElementById("previous");
  const next = document.getElementById("next");
  let page = 0;

  function show() {
    const { tag, source } = Object.fromEntries(new FormData(filters));
    const matching = cards.filter((card) => {
      const matches = (!tag || card.dataset.tags.split(" ").includes(tag)) && (!source || card.dataset.source === source);
      card.classList.toggle("filtered", !matches);
      return matches;
    });
    const pages = Math.max(1, Math.ceil(matching.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    matching.forEach((card, place) => card.classList.toggle("off-page", Math.floor(place / PAGE) !== page));
    const first = page * PAGE + 1;
    document.getElementById("place").textContent = matching.length
      ? `${first}–${Math.min(first + PAGE - 1, matching.length)} of ${matching.length}` : "0 of 0";
    document.getElementById("nothing").hidden = matching.length > 0;
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  }

  function turn(pages) {
    const before = page;
    page += pages;
    show();
    if (page !== before) document.getElementById("gallery").scrollIntoView();
  }

  filters.addEventListener("change", () => { page = 0; show(); });
  filters.addEventListener("submit", (event) => event.preventDefault());
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (typing || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") turn(1);
    if (event.key === "ArrowLeft") turn(-1);
  });
  show();
}
