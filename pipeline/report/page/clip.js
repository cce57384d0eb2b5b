/** The page of one clip: how it moves, how it is scored and why, and the nearest better clip of its challenge beside it. */

import { challenges, clipOf, clips, clipsOf, modalities, layout, payload, titleOf } from "report/data";
import { barred, clipLink, h, picture, scrolled, table } from "report/dom";
import { feedback, stretches } from "report/feedback";
import { capital, count, day, NOTHING, percent, seconds, signed, words } from "report/format";
import { musicSection } from "report/music";
import { inWords, panel } from "report/panel";
import { player } from "report/player";

const UNSEEING = "a model that had not seen the creator";
let running = null;

const link = (clip, text = clips.id[clip]) => h("a", { href: clipLink(clips.id[clip]) }, text);

/** "Rank 3 of 32 in slide_step by the final model; creator: creator_9" */
function place(clip) {
  const members = clipsOf(clips.challenge[clip]);
  const ranked = clips.rank[clip] == null ? "No score" : `Rank ${count(clips.rank[clip])} of ${count(members.length)}`;
  const by = clips.rank[clip] == null ? "" : " by the final model";
  return `${ranked} in ${challenges[clips.challenge[clip]]}${by}; creator: ${clips.creator[clip] ?? "unknown"}`;
}

function neighbours(clip) {
  const members = clipsOf(clips.challenge[clip]);
  const at = members.indexOf(clip);
  return h("p", { class: "row no-print" },
    at > 0 ? link(members[at - 1], "← one rank better") : null,
    at < members.length - 1 ? link(members[at + 1], "one rank worse →") : null,
    h("a", { href: "#challenges" }, "All clips"));
}

/** music: what moves with the panels, or null. */
function stages(shown, panels, music) {
  const titles = ["This clip", "The most alike of the clearly better ones"];
  const elements = shown.map((one, at) => h("section", { class: "panel" }, h("h2", {}, titles[at]),
    h("p", {}, at ? [link(one), `: ${place(one)}`] : "The skeleton as the networks saw it."), panels[at].element));
  const moving = [...panels, music].filter((one) => one?.seconds > 0);
  running = moving.length ? player(moving, stretches(shown[0])) : null;
  const key = (name, text) => h("span", { "--key": `var(--${name})` }, text);
  const legend = panels.some((one) => one.media?.evidence)
    ? h("p", { class: "legend" }, key("accent", "raises the pose's part of the score"), key("against", "lowers it"), key("line", "neither"))
    : null;
  return [h("div", { class: "pair" }, elements), running?.element, legend].filter(Boolean);
}

function scores(clip, better) {
  const row = (name, value, weight) => [name, barred(value(clip), percent(value(clip))), ...(better < 0 ? [] : [percent(value(better))]),
    weight == null ? NOTHING : barred(weight, percent(weight))];
  const judged = clips.unseen[clip] != null;
  const all = payload.about.context ? "All, with the context" : "All, fused";
  const fair = (values) => (one) => (judged && clips.unseen[one] == null ? null : values[one]);
  const scored = table("How it is scored", ["modality", "this clip", ...(better < 0 ? [] : ["the better one"]), "weight in the score"], [
    row(judged ? `${all}, by the final model` : all, (one) => clips.percentile[one], null),
    judged ? row(`${all}, by ${UNSEEING}`, fair(clips.unseen), null) : null,
    payload.about.context ? row(judged ? `Content alone, by ${UNSEEING}` : "Content alone", fair(clips.content), null) : null,
    ...modalities.map((modality) => row(capital(titleOf(modality)), (one) => clips.modality_percentile[modality][one], clips.attention[modality][clip])),
    payload.about.context ? row("Context: not of the content", (one) => clips.context[one], null) : null,
  ].filter(Boolean));
  const whose = "Rank, modalities and weights are the final model's, which may have learned from these clips' own likes;"
    + " what a model says that had not seen the creator can differ much.";
  return [scored, judged ? h("p", { class: "quiet" }, whose) : null].filter(Boolean);
}

function interval(clip) {
  const [at, low, high] = [clips.expected[clip], clips.low[clip], clips.high[clip]];
  if (at == null || low == null) return h("p", {}, "Nothing is expected of this clip: it has no score, or too little is known.");
  const ended = clips.actual[clip] == null ? "" : ` It ended above ${percent(clips.actual[clip])}.`;
  return h("div", {},
    h("p", {}, `By the final model, expected to end above ${percent(at)} of its challenge, between ${percent(low)} and ${percent(high)}: of ten clips`
      + ` ${Math.round(10 * payload.about.interval_level)} are to end within their interval.${ended}`),
    h("span", { class: "scale large", "aria-hidden": "true", "--low": low, "--high": high, "--at": at }),
    h("div", { class: "ends", "aria-hidden": "true" }, h("span", {}, "worst"), h("span", {}, "best")));
}

function evidence(media) {
  if (!media?.evidence) return [h("p", {}, "Not worked out for this clip, or no dancer was found: only the best and the worst of each challenge have it.")];
  const ordered = layout.joints.map((name, joint) => [name, media.evidence.joint[joint]]).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const rows = ordered.map(([name, value]) => [words(name), signed(value),
    h("span", { class: `signed ${value < 0 ? "against" : "for"}`, "aria-hidden": "true", "--value": value })]);
  return [
    h("p", {}, `What the dancer's motion adds to the pose's part of the score, against standing still in the mean pose. Over time, ${inWords(media)}.`
      + " Numbers are shares of the clip's largest."),
    table("Evidence by joint", ["joint", "evidence", "against | for"], rows),
  ];
}

function facts(clip) {
  const code = clips.code[clip] ? ` (${clips.code[clip]})` : "";
  const known = [
    ["Read", clips.status[clip] + code], ["Split", clips.split[clip] ?? NOTHING], ["Likes", count(clips.likes[clip])],
    ["Followers", count(clips.followers[clip])], ["Uploaded", day(clips.uploaded_at[clip])],
    ["Actual percentile", percent(clips.actual[clip])], ["Copies share", clips.copies[clip] ?? "none"],
  ];
  return h("dl", { class: "facts" }, known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function filmstrip(media) {
  if (!media?.film) return [];
  const { film } = media;
  const alt = `${film.frames} frames of the film, ${seconds(film.seconds[0])} to ${seconds(film.seconds.at(-1))}`;
  return [h("h2", {}, "Film"), scrolled("Film strip", picture(film.src, alt, { class: "filmstrip" }))];
}

/** Shows the clip at this moment, wherever the reader is. */
function jump(panel, moment) {
  running.jump(moment);
  panel.element.scrollIntoView({ block: "nearest" });
}

function show(id) {
  running?.stop();
  running = null;
  const clip = clipOf(id);
  const content = document.querySelector("#clip .content");
  document.getElementById("clip-title").textContent = id || "Clip";
  if (clip === undefined) {
    content.replaceChildren(h("p", {}, "This report has no such clip. ", h("a", { href: "#challenges" }, "All clips")));
    return id;
  }
  const better = clips.better[clip];
  const shown = [clip, ...(better < 0 ? [] : [better])];
  const panels = shown.map((one) => panel(one, clips.id[one]));
  const { media } = panels[0];
  const music = musicSection(clip, panels[0].seconds, (moment) => running.seek(moment));
  content.replaceChildren(
    h("p", { class: "lead" }, place(clip)), neighbours(clip), ...stages(shown, panels, music.moving),
    music.element,
    h("section", {}, h("h2", {}, "What differs from the best clips"),
      feedback(clip, panels[0].seconds, (moment) => jump(panels[0], moment))),
    h("div", { class: "beside" },
      h("section", {}, h("h2", {}, "How it is scored"), ...scores(clip, better)),
      h("section", {}, h("h2", {}, "Where it is expected to end"), interval(clip))),
    ...filmstrip(media),
    h("div", { class: "beside" },
      h("section", {}, h("h2", {}, "What speaks for and against it"), ...evidence(media)),
      h("section", {}, h("h2", {}, "What is known"), facts(clip))));
  return id;
}

export const clipPage = {
  build() {},
  show,
  hide() {
    running?.stop();
    running = null;
  },
};
