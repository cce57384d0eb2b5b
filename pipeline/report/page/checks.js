/** The view of the data check: frames with skeletons and faces, crops, scenes; a wrong extraction shows at a glance. */

import { clips, payload } from "report/data";
import { barred, clipLink, h, picture } from "report/dom";
import { percent, plural, seconds, words } from "report/format";

function card(check) {
  const id = clips.id[check.clip];
  const when = check.second == null ? "" : ` at ${seconds(check.second)}`;
  const crops = check.crops.map((crop, at) => picture(crop, `Face crop ${at + 1} of ${id}`));
  const place = check.indoor == null ? [] : [`, ${check.indoor >= 0.5 ? "indoor" : "outdoor"} (${percent(Math.max(check.indoor, 1 - check.indoor))})`];
  const scenes = check.scene.map(([name, probability]) =>
    h("li", {}, h("span", {}, words(name)), ...barred(probability, percent(probability)).reverse()));
  return h("li", { class: "card" },
    check.picture ? picture(check.picture, `A frame of ${id}${when} with the skeletons and faces found in it`) : null,
    h("div", { class: "about" },
      h("h2", {}, h("a", { href: clipLink(id) }, id)),
      h("p", {}, `${check.people == null ? "People unknown" : check.people === 1 ? "1 person" : `${check.people} people`}${when}`, place),
      check.picture ? null : h("p", { class: "quiet" }, "No picture."),
      crops.length ? h("div", { class: "crops" }, crops) : h("p", { class: "quiet" }, "No face crop."),
      scenes.length ? h("ul", { class: "scenes", "aria-label": "Scene, most likely first" }, scenes) : null));
}

function build(content) {
  const { checks, about } = payload;
  const faces = { blur: "Faces are blurred.", none: "Pictures are left out.", show: "Faces are shown as they are." }[about.faces];
  content.append(h("p", { class: "quiet" }, checks.length
    ? `${plural(checks.length, "clip")}, some by chance, some of those whose extraction looks doubtful. ${faces ?? ""}`
    : "No clip was read."));
  content.append(h("ul", { class: "cards" }, checks.map(card)));
}

let built = false;

export const dataCheck = {
  build() {
    if (!built) build(document.querySelector("#checks .content"));
    built = true;
  },
  show() {
    this.build();
  },
};
