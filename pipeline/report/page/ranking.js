/** The view of the challenges: how well each is ordered, the list of clips with filters, predicted against actual. */

import { drawChart, PAPER_PX } from "report/charts";
import { challenges, clips, clipsOf, count as all, modalities, everyClip, fairPercentile, payload, titleOf } from "report/data";
import { announce, barred, clipLink, field, h, select } from "report/dom";
import { capital, count, day, NOTHING, number, percent, plural } from "report/format";
import { predictedAgainstActual } from "report/specs";
import { VirtualList } from "report/virtual_list";

const MOST_CREATORS = 2000; // named by the browser while one is typed

const chosen = { challenge: "", text: "", status: "", split: "", creator: "" };

function scale(clip) {
  const [low, high, at] = [clips.low[clip], clips.high[clip], clips.expected[clip]];
  if (at == null || low == null) return NOTHING;
  const shown = h("span", { class: "scale", "aria-hidden": "true", "--low": low, "--high": high, "--at": at });
  return [shown, h("span", { class: "unseen" }, `${percent(at)}, ${percent(low)} to ${percent(high)}`)];
}

const COLUMNS = [
  { key: "clip", title: "Clip", words: true, value: (clip) => clips.id[clip],
    cell: (clip) => h("a", { href: clipLink(clips.id[clip]), title: clips.id[clip] }, clips.id[clip]) },
  { key: "rank", title: "Rank", value: (clip) => clips.rank[clip], cell: (clip) => count(clips.rank[clip]) },
  { key: "predicted", title: "Predicted", value: fairPercentile,
    cell: (clip) => barred(fairPercentile(clip), percent(fairPercentile(clip))) },
  { key: "actual", title: "Actual", value: (clip) => clips.actual[clip],
    cell: (clip) => barred(clips.actual[clip], percent(clips.actual[clip])) },
  { key: "expected", title: "Interval", value: (clip) => clips.expected[clip], cell: scale, optional: true },
  ...modalities.map((modality) => ({
    key: `modality-${modality}`, title: capital(titleOf(modality)), value: (clip) => clips.modality_percentile[modality][clip],
    cell: (clip) => barred(clips.modality_percentile[modality][clip], percent(clips.modality_percentile[modality][clip])),
  })),
  ...(payload.about.context ? [{
    key: "context", title: "Context, not content", value: (clip) => clips.context[clip],
    cell: (clip) => barred(clips.context[clip], percent(clips.context[clip])),
  }] : []),
  { key: "challenge", title: "Challenge", words: true, value: (clip) => challenges[clips.challenge[clip]],
    cell: (clip) => challenges[clips.challenge[clip]] },
  { key: "creator", title: "Creator", words: true, value: (clip) => clips.creator[clip],
    cell: (clip) => clips.creator[clip] ?? NOTHING },
  { key: "status", title: "Read", words: true, value: (clip) => clips.status[clip],
    cell: (clip) => h("span", { class: `ending ${clips.status[clip]}` }, clips.status[clip]) },
  { key: "split", title: "Split", words: true, value: (clip) => clips.split[clip],
    cell: (clip) => clips.split[clip] ?? NOTHING },
  { key: "likes", title: "Likes", optional: true, value: (clip) => clips.likes[clip],
    cell: (clip) => count(clips.likes[clip]) },
  { key: "uploaded", title: "Uploaded", optional: true, value: (clip) => clips.uploaded_at[clip],
    cell: (clip) => day(clips.uploaded_at[clip]) },
];

/** Text that is searched without regard to case, made once a clip and not at every key. */
const searched = clips.id.map((id, clip) => `${id}\n${clips.creator[clip] ?? ""}`.toLowerCase());

function fitting() {
  const from = chosen.challenge === "" ? everyClip() : clipsOf(Number(chosen.challenge));
  const [text, creator] = [chosen.text.trim().toLowerCase(), chosen.creator.trim()];
  return from.filter((clip) =>
    (!text || searched[clip].includes(text)) &&
    (!chosen.status || clips.status[clip] === chosen.status) &&
    (!chosen.split || clips.split[clip] === chosen.split) &&
    (!creator || clips.creator[clip] === creator));
}

/** "" (any), then what the column holds. */
const valuesOf = (column) => [["", "any"], ...[...new Set(column)].filter(Boolean).sort().map((one) => [one, one])];

function filters(changed) {
  const text = (key, label, attributes = {}) => field(label, h("input", {
    type: "search", autocomplete: "off", spellcheck: "false", ...attributes,
    oninput: (event) => {
      chosen[key] = event.target.value;
      changed();
    },
  }));
  const choice = (key, label, options) => field(label, select(options, chosen[key], (value) => {
    chosen[key] = value;
    changed();
  }));
  const creators = h("datalist", { id: "creators" });
  const named = [...new Set(clips.creator)].filter(Boolean).sort();
  const fill = () => {
    if (!creators.firstChild) creators.append(...named.slice(0, MOST_CREATORS).map((value) => h("option", { value })));
  };
  return h("form", { class: "controls", role: "search", "aria-label": "Clips", onsubmit: (event) => event.preventDefault() },
    choice("challenge", "Challenge", [["", "all"], ...challenges.map((name, place) => [String(place), name])]),
    text("text", "Clip or creator contains"),
    choice("status", "Read", valuesOf(clips.status)),
    choice("split", "Split", valuesOf(clips.split)),
    text("creator", "Creator is", { list: "creators", onfocus: fill }), creators);
}

/** "0.05 s late": where in the beat the challenge's dancers usually are. */
function lagOf({ usual_lag: usual }) {
  return usual ? `${number(Math.abs(usual[0]))} s ${usual[0] < 0 ? "early" : "late"}` : NOTHING;
}

/** Each challenge in one line; its name shows its clips. */
function summary(pressed) {
  const rows = payload.challenges.map((challenge, place) => {
    const between = challenge.low == null ? "" : ` (${number(challenge.low)} to ${number(challenge.high)})`;
    return h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "plain", onclick: () => pressed(place) }, challenge.name)),
      h("td", {}, count(challenge.clips)), h("td", {}, number(challenge.spearman) + between),
      payload.data.sound ? [h("td", {}, challenge.tempo ? number(challenge.tempo[0], 0) : NOTHING), h("td", {}, lagOf(challenge))] : null);
  });
  const head = ["challenge", "clips", "Spearman (95 %)", ...(payload.data.sound ? ["beats a minute", "usual lag"] : [])].map((title) => h("th", { scope: "col" }, title));
  return h("div", { class: "scrolled", role: "region", "aria-label": "How well each challenge is ordered", tabindex: "0" },
    h("table", {}, h("caption", {}, "How well each challenge is ordered"), h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
}

function build(content) {
  const list = new VirtualList("Clips", COLUMNS);
  const shownCount = h("p", { class: "quiet" });
  const scatter = h("div", { class: "drawing", role: "img", "aria-label": "Predicted against actual; its numbers are in the list." });
  const figure = h("figure", { class: "chart" }, h("figcaption", {},
    h("strong", {}, "Predicted against actual percentile."), " On the line, the model is right."), scatter);
  let [waiting, shown] = [0, []];
  const draw = (width) => drawChart(scatter, predictedAgainstActual(shown), width);
  const fill = () => {
    shown = fitting();
    list.show(shown);
    shownCount.textContent = `${plural(shown.length, "clip")} of ${count(all)}.`;
  };
  const changed = () => {
    fill();
    clearTimeout(waiting); // the chart follows when typing pauses
    waiting = setTimeout(() => {
      announce(shownCount.textContent);
      draw();
    }, 250);
  };
  const form = filters(changed);
  const choose = (place) => {
    form.querySelector("select").value = String(place);
    chosen.challenge = String(place);
    changed();
    form.scrollIntoView();
  };
  const fair = clips.unseen.some((one) => one != null)
    ? "Predicted: where a model that had not seen the creator places the clip in its challenge; the final model, where there is none."
    : "Predicted: where the model places the clip in its challenge. It has seen the clips of the split train.";
  content.append(
    h("div", { class: "beside" }, summary(choose), figure),
    h("h2", {}, "Clips"), h("p", { class: "quiet" }, `${fair} 100 % is the best. Rank: by the final model. Interval: where it is expected to end, and between which ends.`),
    form, shownCount, list.element);
  list.sort("rank", false);
  fill();
  return { list, drawOnce: (width) => scatter.firstChild ?? draw(width) };
}

let built = null;

export const ranking = {
  build() {
    built ??= build(document.querySelector("#challenges .content"));
  },
  show() {
    this.build();
    built.list.draw();
    requestAnimationFrame(() => setTimeout(() => built.drawOnce())); // the list comes first
  },
  print() {
    built.drawOnce(PAPER_PX);
  },
};
