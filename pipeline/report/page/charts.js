/** Draws charts with Vega-Lite, whose code starts when the first one comes into sight. */

import { clipLink } from "report/dom";

const PANEL_PX = 96; // of one of several charts beside each other, at least; else they go on below
const SQUARE_PX = 340; // of a chart of two like scales, at most
export const PAPER_PX = 640; // of a chart that is printed without ever having been in sight
const drawn = new Map(); // element -> { spec, width, finalize }

const axis = {
  labelColor: "var(--quiet)", titleColor: "var(--quiet)", gridColor: "var(--line)", domainColor: "var(--line)", tickColor: "var(--line)",
  labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", grid: true, aria: false,
};
const config = (width) => ({
  background: "transparent", font: getComputedStyle(document.body).fontFamily, view: { stroke: null }, axis,
  axisX: { labelOverlap: "parity", labelSeparation: 10 }, // px between labels; where there is less, every other one is left out
  axisY: { gridOpacity: 0.5, labelLimit: Math.min(400, 0.45 * width) }, header: { labelFontSize: 12 },
  mark: { aria: false },
});

function start() {
  if (window.vegaEmbed) return;
  const script = document.createElement("script");
  script.textContent = document.getElementById("charts").textContent;
  document.head.append(script);
}

/** The spec with sizes that fit into so many pixels. */
function sized({ square, columns, ...spec }, width) {
  if (square) return { ...spec, width: Math.min(width - 70, SQUARE_PX), height: Math.min(width - 70, SQUARE_PX) };
  if (columns) {
    const across = Math.max(1, Math.min(columns, Math.floor((width - 120) / PANEL_PX)));
    const facet = { ...spec.encoding.facet, columns: across };
    return { ...spec, encoding: { ...spec.encoding, facet }, width: Math.max(30, (width - 120) / across - 12) };
  }
  return { ...spec, width, autosize: { type: "fit-x", contains: "padding" } }; // its height follows from its lines
}

// ast: expressions are interpreted, for the page's policy lets no text be run as code.
const LOOKS = { ast: true, actions: false, defaultStyle: false, renderer: "svg", tooltip: false };

/** Draws into the element, in place of what it shows. width: px; as wide as the element, which is not drawn while 0. */
export async function drawChart(element, spec, width = Math.floor(element.clientWidth)) {
  if (!width) return;
  start();
  if (!drawn.has(element)) watch.observe(element);
  const before = drawn.get(element);
  const chart = { spec, width, finalize() {} };
  drawn.set(element, chart);
  before?.finalize();
  const { view, finalize } = await window.vegaEmbed(element, { ...sized(spec, width), config: config(width) }, LOOKS);
  chart.finalize = finalize;
  element.querySelector("svg").setAttribute("aria-hidden", "true"); // the element around it has a name
  view.addEventListener("click", (_, item) => {
    if (item?.datum?.id !== undefined) location.hash = clipLink(item.datum.id);
  });
}

const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const { spec, width } = drawn.get(target);
    if (target.clientWidth && Math.abs(target.clientWidth - width) > 4 && !matchMedia("print").matches) drawChart(target, spec);
  }
});

/**
 * Draws the charts of the overview when they come near the screen. specs: by the name of the element, a function that
 * returns its spec. Returns a function that draws all others at once.
 */
export function startCharts(specs) {
  const waiting = new Map();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) draw(target, target.clientWidth);
  }, { rootMargin: "300px" });
  function draw(element, width) {
    watch.unobserve(element);
    const spec = waiting.get(element);
    waiting.delete(element);
    if (spec) drawChart(element, spec(), width);
  }
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const element = figure.querySelector(".drawing");
    waiting.set(element, specs[figure.dataset.chart]);
    watch.observe(element);
  }
  return () => [...waiting.keys()].forEach((element) => draw(element, element.clientWidth || PAPER_PX));
}
