/** Specifications of the charts, in Vega-Lite. Colours are the page's own, so that they follow light, dark and paper. */

import { clips, modalities, fairPercentile, payload, titleOf } from "report/data";

const { quality } = payload;
const [INK, QUIET, ACCENT] = ["var(--ink)", "var(--quiet)", "var(--accent)"];
const SHOWN = ["model", "modality", "no_network", "other_fusion", "reduced"]; // sections: the model, what it must beat, itself without a part
const LINE_PX = 22;
const MANY = 700; // points; more are counted in squares instead
const BINS = 20; // squares a side

const SHARE = { scale: { domain: [0, 1] }, axis: { format: "%", values: [0, 0.25, 0.5, 0.75, 1] } };

/** Spearman of the model, in the accent colour, and of what it must beat. */
export function qualityChart() {
  const values = quality.table
    .filter((row) => SHOWN.includes(row.section_id) && row.spearman[0] != null)
    .map(({ predictor_id: id, title, spearman: [value, low, high] }) => ({ id, title, value, low, high, model: id === "fused" }));
  return intervals(values, "Spearman", { field: "model", scale: { domain: [true, false], range: [ACCENT, QUIET] }, legend: null });
}

export function ablationChart() {
  const values = (quality.ablations ?? [])
    .filter((row) => row.difference?.[0] != null)
    .map(({ variant, what, predictor, difference: [value, low, high] }) =>
      ({ id: `${variant} ${predictor}`, title: predictor === "fused" ? what : `${what} (${titleOf(predictor)})`, value, low, high }));
  return intervals(values, "Spearman less the model's", { value: ACCENT });
}

/** One line per id, labelled with its title: a point and its interval, and a rule at 0. */
function intervals(values, title, color) {
  const titles = JSON.stringify(Object.fromEntries(values.map((value) => [value.id, value.title])));
  const y = { field: "id", type: "nominal", sort: null, title: null, axis: { ticks: false, domain: false, labelExpr: `${titles}[datum.value]` } };
  const x = { type: "quantitative", title, axis: { labelFlush: false } }; // else the first label runs into the second
  return {
    data: { values },
    height: LINE_PX * values.length,
    encoding: { y },
    layer: [
      { mark: { type: "rule", color: QUIET, strokeDash: [3, 3] }, encoding: { x: { datum: 0 }, y: null } },
      { mark: { type: "rule", strokeWidth: 2 }, encoding: { x: { ...x, field: "low" }, x2: { field: "high" }, color } },
      { mark: { type: "point", filled: true, size: 60, opacity: 1 }, encoding: { x: { ...x, field: "value" }, color } },
    ],
  };
}

export function calibrationChart() {
  const expected = { field: "expected", type: "quantitative", title: "expected percentile", ...SHARE };
  const actual = { field: "actual", type: "quantitative", title: "actual percentile (mean)", ...SHARE };
  return {
    square: true,
    layer: [
      diagonal(),
      { data: { values: quality.calibration }, encoding: { x: expected, y: actual }, mark: { type: "point", filled: true, size: 60, color: ACCENT, opacity: 1 } },
    ],
  };
}

function diagonal() {
  return {
    data: { values: [{ at: 0 }, { at: 1 }] },
    mark: { type: "line", color: QUIET, strokeWidth: 1, strokeDash: [3, 3] },
    encoding: { x: { field: "at", type: "quantitative" }, y: { field: "at", type: "quantitative" } },
  };
}

/** A small bar chart a modality, side by side, one line a challenge. */
export function attentionChart() {
  const values = quality.attention.flatMap((row) => modalities.map((modality) => ({ challenge: row.challenge, modality: titleOf(modality), weight: row[modality] })));
  return {
    data: { values },
    columns: modalities.length,
    mark: { type: "bar", color: ACCENT, height: 12 },
    height: { step: LINE_PX },
    encoding: {
      facet: { field: "modality", type: "nominal", sort: modalities.map(titleOf), title: null, header: { labelColor: INK, labelFontWeight: 600 }, spacing: 12 },
      y: { field: "challenge", type: "nominal", sort: null, title: null, axis: { ticks: false, domain: false } },
      x: { field: "weight", type: "quantitative", title: null, scale: { domain: [0, 1] }, axis: { format: "%", values: [0, 0.5, 1], labelFlush: true } },
    },
  };
}

/** Predicted against actual percentile of these clips: a point each, or counts where there are many. */
export function predictedAgainstActual(shown) {
  const values = shown
    .filter((clip) => fairPercentile(clip) != null && clips.actual[clip] != null)
    .map((clip) => ({ predicted: fairPercentile(clip), actual: clips.actual[clip], id: clips.id[clip] }));
  const axis = (field) => ({ field, type: "quantitative", title: `${field} percentile`, ...SHARE });
  const points = {
    data: { values },
    mark: { type: "point", filled: true, size: 36, color: ACCENT, opacity: 0.65, cursor: "pointer" },
    encoding: { x: axis("predicted"), y: axis("actual") },
  };
  const counts = {
    data: { values: values.length > MANY ? counted(values) : [] },
    mark: { type: "rect", color: ACCENT },
    encoding: {
      x: axis("predicted"), x2: { field: "predictedTo" }, y: axis("actual"), y2: { field: "actualTo" },
      fillOpacity: { field: "clips", type: "quantitative", scale: { domainMin: 0, range: [0.08, 1] }, legend: null },
    },
  };
  return { square: true, layer: [values.length > MANY ? counts : points, diagonal()] };
}

/** Worth, difference and outcome of the picks over diversity (recommend.diversityCurve); a line where the slider is. */
export function diversityChart(points, at) {
  const names = ["worth", "unlike", "good"];
  const values = points.flatMap((one) => names.filter((name) => one[name] != null)
    .map((name) => ({ diversity: one.diversity, name, value: one[name] })));
  const x = { field: "diversity", type: "quantitative", title: "diversity", scale: { domain: [0, 1] }, axis: { values: [0, 0.2, 0.4, 0.6, 0.8, 1], labelFlush: true } };
  return {
    height: 200,
    layer: [
      {
        data: { values },
        mark: { type: "line", strokeWidth: 2, point: { filled: true, size: 24 } },
        encoding: {
          x,
          y: { field: "value", type: "quantitative", title: null, axis: { format: "%" }, scale: { domain: [0, 1] } },
          color: { field: "name", type: "nominal", sort: names, scale: { range: [ACCENT, QUIET, "var(--against)"] }, legend: null },
          strokeDash: { field: "name", type: "nominal", sort: names, scale: { range: [[1, 0], [6, 3], [2, 2]] }, legend: null },
        },
      },
      { data: { values: [{ diversity: at }] }, mark: { type: "rule", color: INK, strokeDash: [2, 2] }, encoding: { x } },
    ],
  };
}

/** Number of points in each square of BINS a side; empty ones are left out. */
function counted(values) {
  const cells = new Map();
  const bin = (share) => Math.min(BINS - 1, Math.floor(share * BINS));
  for (const { predicted, actual } of values) {
    const key = bin(predicted) * BINS + bin(actual);
    cells.set(key, (cells.get(key) ?? 0) + 1);
  }
  return [...cells].map(([key, number]) => {
    const [predicted, actual] = [Math.floor(key / BINS) / BINS, (key % BINS) / BINS];
    return { predicted, actual, predictedTo: predicted + 1 / BINS, actualTo: actual + 1 / BINS, clips: number };
  });
}
