/** Skeletons, evidence, film and music of single clips, read when one is looked at. */

import { bytes, clips } from "report/data";

const KEPT = 6; // blocks that stay parsed
const BLOCK = Number(document.documentElement.dataset.mediaBlock);
const parsed = new Map(); // by block, the one used longest ago first

function block(number) {
  const entries = parsed.get(number) ?? JSON.parse(document.getElementById(`media-${number}`).textContent);
  parsed.delete(number);
  parsed.set(number, entries);
  if (parsed.size > KEPT) parsed.delete(parsed.keys().next().value);
  return entries;
}

/**
 * The media of a clip, or null: fps, aspect (of the box), joints (Uint8Array [frames, 17, 3]: x, y of 255 of the
 * box; 255 where seen), frames, evidence (time [frames], joint [17], -1..1) or null, film or null,
 * music (read by music.unpack) or null.
 */
export function mediaOf(clip) {
  if (!clips.media[clip]) return null;
  const entry = block(Math.floor(clip / BLOCK))[clip];
  const joints = bytes(entry.joints);
  return { ...entry, joints, frames: joints.length / 51 };
}
