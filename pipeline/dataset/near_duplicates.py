"""Near-duplicate uploads: clips that show the same pictures at the same moments, though their files differ.

Two clips of one dance in one kind of room look alike, too. What tells a repost from them is that the *changes* agree:
a limb that crosses the picture does so in both, then. The rule, over the moments that two clips share when one is
shifted against the other (a repost may lack its start), as it is or with left and right swapped:

* the pictures' sketches (pipeline.decode.picture_sketch) have a cosine of at least MIN_SIMILARITY on average, and
* so do the changes: sketches less their mean over the clip correlate with at least MIN_CHANGE_CORRELATION, and
* the moments last MIN_SHARED_S at least, and half of the shorter clip.

How the thresholds were found, and what they cost, is in docs/benchmarks.md. The idea of comparing descriptors over time
under all shifts is old (e.g. Douze et al., "An Image-Based Approach to Video Copy Detection with Spatio-Temporal
Post-Filtering", 2010); the two-fold criterion is ours.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.decode.picture_sketch import MIRROR, SKETCH

MIN_SIMILARITY = 0.55
MIN_CHANGE_CORRELATION = 0.55
MIN_SHARED_S = 2.5
# Clips whose mean sketches agree less are not compared; a cut start, or a caption, moves the mean a little.
MIN_MEAN_SIMILARITY = 0.55

_STEP_S = 0.2  # moments at which clips are compared
_NEAR_S = 0.15  # a picture stands for moments so near
_STILL = 0.05  # sum of squared changes of a clip in which nothing moves but the encoder's noise
_BLOCK = 1024  # clips whose means are compared with all others' at a time


@dataclass(frozen=True)
class ClipSketch:
    """A clip's sketches at moments _STEP_S apart."""

    sketches: np.ndarray  # int8 [T, 100]
    known: np.ndarray  # bool [T] a picture is near the moment; elsewhere the sketch is meaningless
    mean: np.ndarray  # float32 [100] of the known sketches, each of length 1

    def vectors(self) -> np.ndarray:
        """float32 [T, 100] of length 1; 0 where not known. Not kept, for it is four times as large."""
        return _unit(self.sketches) * self.known[:, None]

    def mirrored(self) -> "ClipSketch":
        """The clip with left and right swapped."""
        return replace(self, sketches=self.sketches * MIRROR, mean=self.mean * MIRROR)


def clip_sketch(sketch_ms: Sequence[int], sketches: bytes) -> ClipSketch | None:
    """The sketches of a clip's ending at even moments; None where they are too few to be compared."""
    times = np.asarray(sketch_ms, float) / 1000
    if not len(times):
        return None
    moments = np.arange(0, times[-1] + _STEP_S, _STEP_S)
    nearest = np.abs(times[None] - moments[:, None]).argmin(1)
    known = np.abs(times[nearest] - moments) <= _NEAR_S
    if known.sum() * _STEP_S < MIN_SHARED_S:
        return None
    chosen = np.frombuffer(sketches, np.int8).reshape(len(times), SKETCH)[nearest]
    return ClipSketch(chosen, known, _unit(chosen[known]).mean(0))


def _unit(sketches: np.ndarray) -> np.ndarray:
    values = sketches.astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def name_originals(
    clip_ids: Sequence[str], content_hashes: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> list[str | None]:
    """clip_id of the first of each clip's copies, itself included; None where a clip has no copy.

    Args:
        content_hashes: of the clips' files; equal ones are copies, empty ones are ignored.
        pairs: of clips, as `find_near_duplicates` returns them. A copy of a copy is a copy.
    """
    files: dict[str, list[int]] = defaultdict(list)
    for index, content_hash in enumerate(content_hashes):
        if content_hash:
            files[content_hash].append(index)
    edges = np.array([*pairs, *(pair for same in files.values() for pair in pairwise(same))], np.int64).reshape(-1, 2)
    count = len(clip_ids)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    _, first, members = np.unique(group, return_index=True, return_counts=True)
    return [str(clip_ids[first[index]]) if members[index] > 1 else None for index in group]


def find_near_duplicates(clips: Sequence[ClipSketch | None]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of near-duplicate clips. None, a clip too short to be compared, is in no pair."""
    indices = [index for index, clip in enumerate(clips) if clip is not None]
    known = [clip for clip in clips if clip is not None]
    return [
        (indices[first], indices[second])
        for first, second in _similar_on_average(known)
        if is_near_duplicate(known[first], known[second])
    ]


def _similar_on_average(clips: Sequence[ClipSketch]) -> Iterator[tuple[int, int]]:
    means = np.array([clip.mean / max(np.linalg.norm(clip.mean), 1e-6) for clip in clips], np.float32)
    for start in range(0, len(clips), _BLOCK):
        block = means[start : start + _BLOCK]
        agreement = np.maximum(block @ means[start:].T, (block * MIRROR) @ means[start:].T)
        first, second = np.nonzero(np.triu(agreement >= MIN_MEAN_SIMILARITY, 1))
        yield from zip((first + start).tolist(), (second + start).tolist(), strict=True)


def is_near_duplicate(first: ClipSketch, second: ClipSketch) -> bool:
    """Whether the rule at the head of this module holds at any shift of one clip against the other or its mirror."""
    for version in (second, second.mirrored()):
        shifts = compare_shifts(first, version)
        similar = (shifts.similarity >= MIN_SIMILARITY) & (shifts.change_correlation >= MIN_CHANGE_CORRELATION)
        if (shifts.long_enough & similar).any():
            return True
    return False


@dataclass(frozen=True)
class ShiftSimilarity:
    """Comparison of two clips at each of S shifts; shift 0 starts the second one as late as possible."""

    shared: np.ndarray  # [S] moments at which both show a picture
    long_enough: np.ndarray  # bool [S] they last long enough to be judged
    similarity: np.ndarray  # [S] mean cosine of the sketches there, -1..1
    change_correlation: np.ndarray  # [S] correlation of their changes there, -1..1; 0 where nothing changes


def compare_shifts(first: ClipSketch, second: ClipSketch) -> ShiftSimilarity:
    """Comparison at all shifts of two clips, of T and U moments; S is T + U - 1."""
    vectors = first.vectors(), second.vectors()
    known = first.known.astype(np.float32), second.known.astype(np.float32)
    # A clip's mean is that of all its moments, not of the shared ones: at most half are not, and then it moves little.
    changes = [v - clip.mean * clip.known[:, None] for v, clip in zip(vectors, (first, second), strict=True)]
    shared = np.correlate(known[1], known[0], "full")
    long_enough = shared >= max(MIN_SHARED_S / _STEP_S, min(first.known.sum(), second.known.sum()) / 2)
    cosines = _along_shifts(vectors[0] @ vectors[1].T)
    correlations = _along_shifts(changes[0] @ changes[1].T)
    spread = np.correlate(known[1], (changes[0] ** 2).sum(1), "full")
    spread *= np.correlate((changes[1] ** 2).sum(1), known[0], "full")
    correlations /= np.sqrt(np.maximum(spread, _STILL**2))
    return ShiftSimilarity(shared, long_enough, cosines / np.maximum(shared, 1), correlations)


def _along_shifts(products: np.ndarray) -> np.ndarray:
    """float32 [T, U] to [T + U - 1]: sums over the diagonals, from the lower left corner to the upper right one."""
    rows, columns = products.shape
    # Written row under row one short of the padded width, each row stands one place further right than the one before.
    padded = np.zeros((rows, rows + columns), np.float32)
    padded[:, :columns] = products[::-1]
    return padded.ravel()[: rows * (rows + columns - 1)].reshape(rows, -1).sum(0)
