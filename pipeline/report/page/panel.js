/** The moving parts of one clip: its skeleton, its film if any, and the evidence over time with the moment marked. */

import { h, picture } from "report/dom";
import { colours, drawSkeleton, surface, tone } from "report/skeleton";
import { mediaOf } from "report/media";

/** { element, seconds, draw(moment), media }; media null: nothing moves. */
export function panel(clip, name) {
  const media = mediaOf(clip);
  const stage = h("div", { class: "stage" });
  const element = h("div", {}, stage);
  const draws = [];
  let shown = 0;
  if (media?.frames) {
    const canvas = h("canvas", { role: "img", "aria-label": `Skeleton of ${name}, moving` });
    stage.append(canvas);
    draws.push((moment) => drawSkeleton(canvas, media, Math.min(moment * media.fps, media.frames - 1), media.evidence?.joint ?? null));
  }
  if (media?.film) {
    const canvas = h("canvas", { role: "img", "aria-label": `Film of ${name}` });
    const strip = picture(media.film.src, "", { loading: "eager" });
    stage.append(canvas);
    draws.push((moment) => drawFilm(canvas, strip, media.film, moment));
    strip.addEventListener("load", () => drawFilm(canvas, strip, media.film, shown));
  }
  if (!draws.length) stage.append(h("p", { class: "nothing" }, "There is nothing to show: no dancer was found in this clip."));
  if (media?.evidence) {
    const canvas = h("canvas", { class: "strip", role: "img", "aria-label": `Evidence over time: ${inWords(media)}` });
    element.append(canvas);
    draws.push((moment) => drawStrip(canvas, media, moment));
  }
  const filmed = media?.film ? media.film.seconds.at(-1) : 0;
  return {
    element, media,
    seconds: Math.max(media?.frames ? (media.frames - 1) / media.fps : 0, filmed),
    draw(moment) {
      shown = moment;
      draws.forEach((draw) => draw(moment));
    },
  };
}

/** The frame of the strip that is the last one by this moment, as large as the canvas lets it. */
function drawFilm(canvas, strip, film, moment) {
  const { context, width, height } = surface(canvas);
  if (!strip.complete || !strip.naturalWidth) return;
  const later = film.seconds.findIndex((second) => second > moment);
  const frame = later < 0 ? film.frames - 1 : Math.max(0, later - 1);
  const scale = Math.min(width / film.width, height / film.height);
  const [wide, high] = [film.width * scale, film.height * scale];
  context.drawImage(strip, frame * film.width, 0, film.width, film.height, (width - wide) / 2, (height - high) / 2, wide, high);
}

function drawStrip(canvas, media, moment) {
  const { context, width, height } = surface(canvas);
  const palette = colours();
  const step = width / media.frames;
  media.evidence.time.forEach((value, frame) => {
    const high = Math.abs(value) * height / 2;
    context.fillStyle = tone(Math.sign(value), palette);
    context.fillRect(frame * step, value > 0 ? height / 2 - high : height / 2, Math.max(step - 0.5, 0.5), high);
  });
  context.fillStyle = palette.line;
  context.fillRect(0, height / 2 - 0.5, width, 1);
  context.fillStyle = palette.ink;
  context.fillRect(Math.min(moment * media.fps, media.frames - 1) * step, 0, 2, height);
}

/** The moments of the strongest evidence for and against the clip, in words. */
export function inWords({ evidence, fps }) {
  const at = (value) => `${(evidence.time.indexOf(value) / fps).toFixed(1)} s`;
  const [most, least] = [Math.max(...evidence.time), Math.min(...evidence.time)];
  const parts = [];
  if (most > 0) parts.push(`it speaks most for the clip at ${at(most)}`);
  if (least < 0) parts.push(`most against it at ${at(least)}`);
  return parts.length ? parts.join(", ") : "the skeleton's motion says nothing either way";
}
