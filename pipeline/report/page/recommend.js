/** Recommendation: what counts and how different the clips should be, as sliders; the picks follow at once. */

import { task } from "report/command";
import { bytes, challenges, clips, clipsOf, cues, fairPercentile, payload } from "report/data";
import { announce, clipLink, field, h, select, whenNear } from "report/dom";
import { capital, NOTHING, number, percent, plural } from "report/format";
import { Likeness, pick, relevance } from "report/mmr";
import { still } from "report/skeleton";

const FUSED = "fused";
const TOP = [5, 10, 20, 50];

const asked = {
  weights: Object.fromEntries([[FUSED, 1], ...cues.map((cue) => [cue, 0])]),
  challenge: 0, diversity: 0.3, top: 10, newOnly: false, oneEach: true,
};
const percentiles = { ...clips.cue_percentile, [FUSED]: clips.id.map((_, clip) => fairPercentile(clip)) };
let likeness = null;

/** The picks of one challenge; its clips in the order of their ids, as ties go to the first. */
export function recommended(challenge, { weights, diversity, top, newOnly, oneEach }) {
  likeness ??= new Likeness(bytes(payload.embedding.values), payload.embedding.size);
  const members = [...(clipsOf(challenge) ?? [])]
    .filter((clip) => !newOnly || clips.new[clip])
    .sort((a, b) => (clips.id[a] < clips.id[b] ? -1 : 1))
    .map((clip) => ({ clip, relevance: relevance(percentiles, weights, clip), creator: clips.creator[clip], copies: clips.copies[clip] }))
    .filter((member) => member.relevance != null);
  return pick(members, likeness, { top, diversity, perCreator: oneEach ? 1 : 0 });
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
  const weights = [FUSED, ...cues].map((cue) => slider(cue === FUSED ? "All cues, as the model weighs them" : capital(cue),
    asked.weights[cue], 3, (value) => { asked.weights[cue] = value; }, changed));
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
  const values = [FUSED, ...cues].map((cue) => h("span", {}, `${cue} ${percent(percentiles[cue][clip])}`));
  const alike = nearest == null ? [] : [` Most like ${clips.id[nearest]} above (${number(similarity)}).`];
  return h("li", { class: "pick" }, canvas, h("div", {},
    h("a", { href: clipLink(clips.id[clip]) }, clips.id[clip]),
    h("p", { class: "quiet" }, `by ${clips.creator[clip] ?? NOTHING}. Worth ${percent(worth)}.`, alike),
    h("p", { class: "values" }, values)));
}

function build(content) {
  const told = h("p", { class: "quiet" });
  const picks = h("ol", { class: "picks" });
  const command = h("code", {});
  let waiting = 0;
  const changed = () => {
    const counts = Object.values(asked.weights).some((weight) => weight > 0);
    const found = counts ? recommended(asked.challenge, asked) : [];
    picks.replaceChildren(...found.map(shown));
    told.textContent = !counts ? "Give at least one cue a weight above 0."
      : found.length ? `${plural(found.length, "clip")} of ${challenges[asked.challenge]}, the first to push on top.`
        : "No clip fits. New uploads are those without likes, views, comments and shares.";
    command.textContent = commandOf();
    clearTimeout(waiting);
    waiting = setTimeout(() => announce(told.textContent), 600);
  };
  content.append(h("div", { class: "side" }, controls(changed), h("div", {}, told, picks,
    h("p", { class: "quiet" }, "The same as files, from the full embeddings: ", command))));
  changed();
}

function commandOf() {
  const weights = Object.entries(asked.weights).filter(([, weight]) => weight > 0).map(([cue, weight]) => `${cue}=${weight}`);
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
