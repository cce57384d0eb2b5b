/** Feedback on a clip, where ActionFeedback was run on it: where the dancer differs from the best. Else the command to run. */

import { commandBox, task } from "report/command";
import { clips, modalities, payload } from "report/data";
import { announce, clipLink, h } from "report/dom";
import { capital, plural, seconds } from "report/format";

const byClip = new Map(payload.feedback.map((one) => [one.clip, one]));

/** Stretches of time in which something differs: [{ start_s, end_s }]. */
export const stretches = (clip) => byClip.get(clip)?.findings ?? [];

/**
 * The section's content.
 *
 * shown: seconds of the clip that the page can play; jump(moment): goes there.
 */
export function feedback(clip, shown, jump) {
  const existing = byClip.get(clip);
  return existing ? compared(existing, shown, jump) : missing(clip);
}

function compared({ references, fitting, findings, caution, film }, shown, jump) {
  const links = references.flatMap((id, place) => [place ? ", " : "", h("a", { href: clipLink(id) }, id)]);
  return [
    payload.about.untrained
      ? h("p", { class: "notice warning" }, h("strong", {}, "Untrained weights."), " What is said here means nothing.")
      : null,
    h("p", {}, `Compared with the best ${plural(references.length, "clip")} of the challenge by the pose's part of their scores: `, ...links,
      `. ${fitting === references.length ? "All" : fitting} of them dance what this clip does.`),
    findings.length
      ? h("ol", { class: "findings" }, findings.map((finding) => item(finding, shown, jump)))
      : h("p", {}, h("strong", {}, "Nothing stands out:"), " it differs from them no more than they do from one another."),
    h("p", { class: "quiet" }, caution),
    film ? h("p", {}, "This clip and the best ones side by side, as a film in the workspace: ", h("code", {}, film)) : null,
  ].filter(Boolean);
}

function item({ sentence, meaning, start_s: start }, shown, jump) {
  const go = () => {
    jump(start);
    announce(`At ${seconds(start)}.`);
  };
  const button = h("button", { type: "button", onclick: go }, "Show this stretch", h("span", { class: "unseen" }, ` ${sentence}`));
  return h("li", {}, h("p", {}, h("strong", {}, capital(sentence))), h("p", {}, capital(meaning)), start < shown ? button : null);
}

function missing(clip) {
  if (!modalities.includes("pose")) return [h("p", {}, "Nothing to compare: the run was made without the pose modality, so there are no skeletons.")];
  if (clips.modality_percentile.pose[clip] == null) {
    const why = clips.status[clip] === "failed" ? "the clip could not be read" : "no dancer was found in the clip";
    return [h("p", {}, `Nothing to compare: there is no skeleton, for ${why}.`)];
  }
  return [
    h("p", {}, "Not looked at yet. This takes seconds and says which limb differs, when and how; a report that is made later shows it here:"),
    commandBox(task("ActionFeedback", { "--clip": clips.id[clip] })),
  ];
}
