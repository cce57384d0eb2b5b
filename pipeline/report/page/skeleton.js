/** Draws a dancer's skeleton on a canvas, its joints in the colour of what they add to the score. */

import { layout } from "report/data";
import { mediaOf } from "report/media";

const MARGIN = 0.06; // of the canvas, around the clip's box
const VALUES = 51; // a frame: 17 joints of x, y, seen

/** The page's colours as they are now. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "quiet", "line", "raised", "accent", "against"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Makes the canvas as fine as the screen; returns its context in CSS pixels with its size. */
export function surface(canvas) {
  const fine = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * fine) || canvas.height !== Math.round(height * fine)) {
    canvas.width = Math.round(width * fine);
    canvas.height = Math.round(height * fine);
  }
  const context = canvas.getContext("2d");
  context.setTransform(fine, 0, 0, fine, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/**
 * Joints at a moment between two frames: [17] of [x, y] in 0..1 of the box, null where the joint is not seen in both.
 * frame: 0..frames-1, may lie between.
 */
export function posture(media, frame) {
  const before = Math.floor(Math.min(frame, media.frames - 1));
  const after = Math.min(before + 1, media.frames - 1);
  const share = frame - before;
  return Array.from({ length: VALUES / 3 }, (_, joint) => {
    const [a, b] = [before * VALUES + joint * 3, after * VALUES + joint * 3];
    const { joints } = media;
    if (!joints[a + 2]) return null;
    const towards = joints[b + 2] ? share : 0;
    return [0, 1].map((axis) => (joints[a + axis] + towards * (joints[b + axis] - joints[a + axis])) / 255);
  });
}

/** Evidence -1..1 as a colour, from the line's colour at 0 to what speaks for the clip and against it. */
export function tone(value, palette) {
  const strength = Math.round(100 * Math.min(1, Math.abs(value)));
  return `color-mix(in srgb, ${value < 0 ? palette.against : palette.accent} ${strength}%, ${palette.line})`;
}

/** Draws the posture at this moment. evidence: [17] -1..1, or null. */
export function drawSkeleton(canvas, media, frame, evidence) {
  const { context, width, height } = surface(canvas);
  const palette = colours();
  const [wide, high] = [width * (1 - 2 * MARGIN), height * (1 - 2 * MARGIN)];
  const unit = Math.min(wide / media.aspect, high); // height of the box in px
  const [left, top] = [(width - unit * media.aspect) / 2, (height - unit) / 2];
  const joints = posture(media, frame).map((at) => at && [left + at[0] * unit * media.aspect, top + at[1] * unit]);
  const thick = Math.max(1.5, unit / 90);
  context.lineWidth = thick;
  context.lineCap = "round";
  context.strokeStyle = palette.quiet;
  for (const [joint, other] of layout.edges) {
    if (!joints[joint] || !joints[other]) continue;
    context.beginPath();
    context.moveTo(...joints[joint]);
    context.lineTo(...joints[other]);
    context.stroke();
  }
  joints.forEach((at, joint) => {
    if (!at) return;
    context.beginPath();
    context.arc(...at, thick * (evidence ? 1.6 + 1.6 * Math.abs(evidence[joint]) : 1.3), 0, 2 * Math.PI);
    context.fillStyle = evidence ? tone(evidence[joint], palette) : palette.ink;
    context.fill();
  });
}

/** One posture of a clip in a small canvas: that in which most joints are seen; empty where there is none. */
export function still(canvas, clip) {
  const media = mediaOf(clip);
  if (!media?.frames) return;
  const seen = (frame) => posture(media, frame).filter(Boolean).length;
  let best = 0;
  for (let frame = 1; frame < media.frames; frame++) if (seen(frame) > seen(best)) best = frame;
  drawSkeleton(canvas, media, best, media.evidence?.joint ?? null);
}
