/** Recommended clips, by the rule of pipeline/scoring/recommendation.py: relevance, and maximal marginal relevance. */

const MIDDLE = 0.5; // the percentile that a missing modality counts as

/** Cosine similarity of clips: rows of E whole numbers, all 0 where nothing is known of a clip. */
export class Similarity {
  constructor(values, size) {
    this.values = new Int8Array(values.buffer);
    this.size = size;
    const clips = size ? this.values.length / size : 0;
    this.lengths = Float64Array.from({ length: clips }, (_, clip) => Math.sqrt(this.#product(clip, clip)));
  }

  #product(one, other) {
    let sum = 0;
    const [a, b] = [one * this.size, other * this.size];
    for (let at = 0; at < this.size; at++) sum += this.values[a + at] * this.values[b + at];
    return sum;
  }

  /** -1..1; 0 where nothing is known of one of them. */
  of(one, other) {
    const lengths = this.lengths[one] * this.lengths[other];
    return lengths ? this.#product(one, other) / lengths : 0;
  }
}

/**
 * The weighted mean of percentiles, 0..1; null: the clip lacks all that counts.
 *
 * percentiles: by modality, a column; weights: by modality, 0 and up.
 */
export function relevance(percentiles, weights, clip) {
  let [sum, total, counted] = [0, 0, false];
  for (const [modality, weight] of Object.entries(weights)) {
    const value = percentiles[modality][clip];
    sum += weight * (value ?? MIDDLE);
    total += weight;
    counted ||= weight > 0 && value != null;
  }
  return counted ? sum / total : null;
}

/**
 * Up to `top` of these clips, best first: { clip, relevance, similarity (to the most similar one above), nearest (which
 * that is, or null) }. Ties go to the higher relevance, then to the clip that comes first.
 *
 * members: [{ clip, relevance, creator, copies }]; creator and copies null where there is none.
 * diversity: 0, the most relevant ones, to 1. perCreator: most clips of one creator; 0: no limit.
 */
export function pick(members, similarities, { top, diversity, perCreator }) {
  const free = members.map((member) => ({ ...member, similarity: 0, nearest: null }));
  free.sort((a, b) => b.relevance - a.relevance); // stable
  const picked = [];
  while (picked.length < top && free.length) {
    let [best, most] = [0, -Infinity];
    free.forEach((member, place) => {
      const value = (1 - diversity) * member.relevance - diversity * member.similarity;
      if (value > most) [best, most] = [place, value];
    });
    const [taken] = free.splice(best, 1);
    picked.push(taken);
    const full = perCreator && taken.creator != null && picked.filter((one) => one.creator === taken.creator).length >= perCreator;
    for (let place = free.length - 1; place >= 0; place--) {
      const member = free[place];
      if ((taken.copies != null && member.copies === taken.copies) || (full && member.creator === taken.creator)) {
        free.splice(place, 1);
        continue;
      }
      const similarity = similarities.of(member.clip, taken.clip);
      if (similarity > member.similarity) [member.similarity, member.nearest] = [similarity, taken.clip];
    }
  }
  return picked;
}
