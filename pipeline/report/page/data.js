/** The page's data: the payload, and the clips as columns. docs/report.md lists the fields. */

const read = (id) => JSON.parse(document.getElementById(id).textContent);

export const payload = read("data");
export const layout = read("layout"); // of the skeleton: joints [17] names, edges [[joint, joint]]
export const clips = payload.clips;
export const modalities = payload.modalities;
/** Of a modality, its name as people read it; of other predictors their id. */
export const titleOf = (name) => payload.titles[name] ?? name;
export const count = clips.id.length;
export const challenges = payload.challenges.map((challenge) => challenge.name);

const place = new Map(clips.id.map((id, clip) => [id, clip]));

/** The clip's row; undefined: there is none. */
export const clipOf = (id) => place.get(id);

/** Rows 0..count-1. */
export const everyClip = () => Array.from({ length: count }, (_, clip) => clip);

const byChallenge = challenges.map(() => []);
clips.challenge.forEach((challenge, clip) => byChallenge[challenge].push(clip));
byChallenge.forEach((members) => members.sort((a, b) => (clips.rank[a] ?? Infinity) - (clips.rank[b] ?? Infinity)));

/** Rows of the clips of a challenge, best first, those without a score last. */
export const clipsOf = (challenge) => byChallenge[challenge];

/** The percentile by the fold that did not see the clip's creator, where there was one; else by the final model. */
export const fairPercentile = (clip) => clips.unseen[clip] ?? clips.percentile[clip];

/** Bytes of base64. */
export function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
