/** The view of recommendations: sliders for what counts and how different the clips should be; the picks follow at once. */

import { drawChart, PAPER_PX } from "report/charts";
import { task } from "report/command";
import { bytes, challenges, clips, clipsOf, modalities, payload, titleOf } from "report/data";
import { announce, clipLink, field, h, select, whenNear } from "report/dom";
import { capital, NOTHING, number, percent, plural } from "report/format";
import { pick, relevance, Similarity } from "report/mmr";
import { still } from "report/skeleton";
import { diversityChart } from "report/specs";

const FUSED = "fused";
const TOP = [5, 10, 20, 50];
const STEPS = Array.from({ length: 11 }, (_, step) => step / 10); // of diversity, in the curve
const GOOD = 2 / 3; // a clip that ended above so much of its challenge is one of the top third

const asked = {
  weights: Object.fromEntries([[FUSED, 1], ...modalities.map((modality) => [modality, 0])]),
  challenge: 0, diversity: 0.3, top: 10, newOnly: false, oneEach: true,
};
const percentiles = { ...clips.modality_percentile, [FUSED]: clips.content };
let similarities = null;

/** The picks of one challenge; its clips in the order of their ids, as ties go to the first. */
export function recommended(challenge, { weights, diversity, top, newOnly, oneEach }) {
  similarities ??= new Similarity(bytes(payload.embedding.values), payload.embedding.size);
  const members = [...(clipsOf(challenge) ?? [])]
    .filter((clip) => !newOnly || clips.new[clip])
    .sort((a, b) => (clips.id[a] < clips.id[b] ? -1 : 1))
    .map((clip) => ({ clip, relevance: relevance(percentiles, weights, clip), creator: clips.creator[clip], copies: clips.copies[clip] }))
    .filter((member) => member.relevance != null);
  return pick(members, similarities, { top, diversity, perCreator: oneEach ? 1 : 0 });
}

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

/**
 * Costs and gains of diversity, at each of STEPS: [{ diversity, worth (mean relevance), unlike (1 less the mean similarity
 * of pairs; an opposite counts as unlike, no more), good (share in the top third of those whose end is known) }], null where
 * nothing is known.
 */
export function diversityCurve(challenge, options) {
  return STEPS.map((diversity) => {
    const picked = recommended(challenge, { ...options, diversity });
    const pairs = picked.flatMap((one, place) => picked.slice(0, place).map((other) => Math.max(0, similarities.of(one.clip, other.clip))));
    const ended = picked.map((one) => clips.actual[one.clip]).filter((actual) => actual != null);
    return {
      diversity,
      worth: mean(picked.map((one) => one.relevance)),
      unlike: pairs.length ? 1 - mean(pairs) : null,
      good: mean(ended.map((actual) => Number(actual >= GOOD))),
    };
  });
}

const key = (colour, text) => h("span", { "--key": `var(--${colour})` }, text);

function curveTable(points) {
  const cells = ["diversity", "worth", "unlike", "in the top third"].map((title) => h("th", { scope: "col" }, title));
  const rows = points.map((one) => h("tr", {}, h("th", { scope: "row" }, number(one.diversity, 1)),
    [one.worth, one.unlike, one.good].map((value) => h("td", {}, percent(value)))));
  return h("table", {}, h("thead", {}, h("tr", {}, cells)), h("tbody", {}, rows));
}

function slider(label, value, most, set, changed) {
  const shown = h("output", {}, number(value, 1));
  const control = h("input", { type: "range", min: 0, max: most, step: 0.1, value, oninput: (event) => {
    set(Number(event.target.value));
    shown.textContent = number(Number(event.target.value), 1);
    changed();
  } });
  return field(label, control, shown);
}

function tick(label, key, changed) {
  const box = h("input", { type: "checkbox", checked: asked[key], onchange: (event) => {
    asked[key] = event.target.checked;
    changed();
  } });
  return h("label", { class: "tick" }, box, label);
}

function controls(changed) {
  const weights = [FUSED, ...modalities].map((modality) => slider(modality === FUSED ? "All modalities, as the model weighs them" : capital(titleOf(modality)),
    asked.weights[modality], 3, (value) => { asked.weights[modality] = value; }, changed));
  return h("form", { class: "controls", "aria-label": "What to recommend", onsubmit: (event) => event.preventDefault() },
    field("Challenge", select(challenges.map((name, place) => [String(place), name]), String(asked.challenge), (value) => {
      asked.challenge = Number(value);
      changed();
    })),
    h("fieldset", {}, h("legend", {}, "What counts"), weights),
    slider("Diversity: how different from each other", asked.diversity, 1, (value) => { asked.diversity = value; }, changed),
    field("How many", select(TOP.map((top) => [String(top), String(top)]), String(asked.top), (value) => {
      asked.top = Number(value);
      changed();
    })),
    tick("New uploads only", "newOnly", changed), tick("One clip a creator", "oneEach", changed));
}

function shown({ clip, relevance: worth, similarity, nearest }) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  whenNear(canvas, () => still(canvas, clip));
  const values = [FUSED, ...modalities].map((modality) => h("span", {}, `${titleOf(modality)} ${percent(percentiles[modality][clip])}`));
  const alike = nearest == null ? [] : [` Most like ${clips.id[nearest]} above (${number(similarity)}).`];
  return h("li", { class: "pick" }, canvas, h("div", {},
    h("a", { href: clipLink(clips.id[clip]) }, clips.id[clip]),
    h("p", { class: "quiet" }, `by ${clips.creator[clip] ?? NOTHING}. Worth ${percent(worth)}.`, alike),
    h("p", { class: "values" }, values)));
}

function build(content) {
  const message = h("p", { class: "quiet" });
  const picks = h("ol", { class: "picks" });
  const command = h("code", {});
  const chart = h("div", { class: "drawing", role: "img", "aria-label": "Worth, unlikeness and outcome of the picks; the numbers are below." });
  const numbers = h("details", {}, h("summary", {}, "The curve's numbers"));
  const figure = h("figure", { class: "chart" }, h("figcaption", {}, h("strong", {}, "What diversity costs and gives."),
    " For these picks, were the slider elsewhere: how much they are worth, how unlike one another they are, and the share of those"
    + " whose end is known that ended in the top third of the challenge."), chart,
    h("p", { class: "legend" }, key("accent", "worth (solid)"), key("quiet", "unlike one another (dashed)"), key("against", "in the top third (dotted)")),
    numbers);
  let [waiting, points] = [0, []];
  const curve = (width) => drawChart(chart, diversityChart(points, asked.diversity), width);
  const follow = () => {
    points = picks.children.length ? diversityCurve(asked.challenge, asked) : [];
    figure.hidden = !points.length;
    numbers.replaceChildren(numbers.firstChild, curveTable(points));
    if (points.length) curve();
  };
  const changed = () => {
    const counts = Object.values(asked.weights).some((weight) => weight > 0);
    const recommendations = counts ? recommended(asked.challenge, asked) : [];
    picks.replaceChildren(...recommendations.map(shown));
    message.textContent = !counts ? "Give at least one modality a weight above 0."
      : recommendations.length ? `${plural(recommendations.length, "clip")} of ${challenges[asked.challenge]}, the first to push on top.`
        : "No clip fits. New uploads are those without likes, views, comments and shares.";
    command.textContent = commandOf();
    clearTimeout(waiting);
    waiting = setTimeout(() => { // the curve follows when the slider rests
      announce(message.textContent);
      follow();
    }, 600);
  };
  content.append(h("div", { class: "side" }, controls(changed), h("div", {}, message, picks,
    h("p", { class: "quiet" }, "The same as files, from the full embeddings: ", command), figure)));
  changed();
  window.addEventListener("beforeprint", () => chart.clientWidth || !points.length || curve(PAPER_PX));
}

function commandOf() {
  const weights = Object.entries(asked.weights).filter(([, weight]) => weight > 0).map(([modality, weight]) => `${modality}=${weight}`);
  return task("Recommend", {
    "--weights": weights.join(","), "--diversity": asked.diversity, "--top": asked.top,
    "--per-creator": asked.oneEach ? 1 : 0, "--new-only": asked.newOnly,
  });
}

let built = false;

export const recommendation = {
  build() {
    if (!built) build(document.querySelector("#recommend .content"));
    built = true;
  },
  show() {
    this.build();
  },
};
