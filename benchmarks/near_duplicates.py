"""Recall, false pairs and speed of the search for near-duplicate uploads.

    python -m benchmarks.near_duplicates --folder FOLDER      # of `luigi --module tasks RenderWorld`

Copies are made of clips of the world in every way of benchmarks.reposts, in turn, and decoded as uploads are. A pair is
false when its clips are not copies of one original. The time is that of `find_near_duplicates` alone, on synthetic
clips that move like those of the world: once each in a room of its own, once in few rooms, where many look alike at
first sight. An interrupted benchmark goes on.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from benchmarks.common import save, table
from benchmarks.reposts import REPOSTS, repost
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.dataset.near_duplicates import ClipSketch, clip_sketch, compare_shifts, find_near_duplicates
from pipeline.decode.clips import Ending
from pipeline.decode.picture_sketch import SKETCH
from pipeline.decode.pool import DecodeJob, DecodePool
from pipeline.features.endings import read_endings, write_endings
from simulation.truth import read_clips_truth

AT_A_TIME = 64  # clips that are decoded anew after an interruption
SYNTHETIC, ROOMS, MOMENTS = 5_000, 50, 30


def decoded(paths: Mapping[str, Path], workers: int, kept: Path) -> dict[str, ClipSketch]:
    """The clips that can be decoded and are long enough, by name; their endings are kept in files called `kept`-n."""
    names = list(paths)
    films: dict[str, ClipSketch | None] = {}
    for start in range(0, len(names), AT_A_TIME):
        path = f"{kept}-{start}.parquet"
        if not Path(path).exists():
            some = {name: paths[name] for name in names[start : start + AT_A_TIME]}
            write_endings(path, list(endings_of(some, workers)), {})
        films |= {ending.clip_id: clip_sketch(ending.sketch_ms, ending.sketches) for ending in read_endings(path)}
    return {name: one for name in names if (one := films[name]) is not None}


def endings_of(paths: Mapping[str, Path], workers: int) -> Iterator[Ending]:
    jobs = [DecodeJob(name, str(path), (10,)) for name, path in paths.items()]
    with DecodePool(SamplingOptions(), DecodeLimits(), workers) as pool:
        for event in pool.run(jobs):
            if isinstance(event, Ending):
                yield event
            else:
                event.release()


def reposts(paths: Mapping[str, Path], kind_of: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Files of the copies, by name; existing ones are not made again."""
    files = {}
    for name, kind in kind_of.items():
        files[name] = folder / f"{name.replace('/', '-')}.mp4"
        if not files[name].exists():
            repost(paths[name.split("/")[0]], folder / "unfinished.mp4", REPOSTS[kind]).rename(files[name])
    return files


def closest(one: ClipSketch, other: ClipSketch) -> tuple[float, float]:
    """`alike` and `together` at the long enough shift at which the lesser of the two is largest."""
    best = []
    for agreement in (compare_shifts(one, other), compare_shifts(one, other.mirrored())):
        at = np.argmax(
            np.where(agreement.long_enough, np.minimum(agreement.similarity, agreement.change_correlation), -1)
        )
        best.append((float(agreement.similarity[at]), float(agreement.change_correlation[at])))
    return max(best, key=min)


def kinds_of_pairs(names: Sequence[str], truth: pd.DataFrame) -> dict[tuple[int, int], str]:
    """What the clips of each pair of originals have in common."""
    values = truth.set_index("clip_id")[["creator_id", "scene", "challenge"]].loc[list(names)].to_numpy(str)
    kinds = {}
    for second in range(len(names)):
        for first in range(second):
            creator, scene, challenge = values[first] == values[second]
            same = [word for word, shared in (("creator", creator), ("scene", scene), ("dance", challenge)) if shared]
            kinds[first, second] = f"same {' and '.join(same)}" if same else "nothing in common"
    return kinds


def compare_originals(films: Sequence[ClipSketch], kinds: Mapping[tuple[int, int], str]) -> list[dict]:
    """By what two originals have in common: pairs, those taken for copies, and the scores of the nearest."""
    taken = set(find_near_duplicates(films))
    rows = []
    for kind in sorted(set(kinds.values()), key=lambda text: (len(text), text)):
        pairs = [pair for pair, of_pair in kinds.items() if of_pair == kind]
        scores = np.array([closest(films[first], films[second]) for first, second in pairs])
        nearest = scores[scores.min(1).argmax()]
        rows.append(
            {"pairs of originals": kind, "pairs": len(pairs), "taken for copies": len(taken & set(pairs)),
             "alike of the nearest": float(nearest[0]), "together of the nearest": float(nearest[1]),
             "together at most": float(scores[:, 1].max())}
        )  # fmt: skip
    return rows


def compare_copies(
    originals: Mapping[str, ClipSketch], copies: Mapping[str, ClipSketch], kind_of: Mapping[str, str]
) -> tuple[list[dict], int]:
    """By kind of repost: copies found among all clips, and the lowest scores; and the number of false pairs.

    copies, kind_of: by `<original>/<number>`.
    """
    names = [*originals, *copies]
    pairs = find_near_duplicates([*originals.values(), *copies.values()])
    sources = [name.split("/")[0] for name in names]
    false = sum(sources[first] != sources[second] for first, second in pairs)
    paired = {names[second] for first, second in pairs if names[first] == sources[second]}
    rows = []
    for kind in REPOSTS:
        of_kind = [name for name, its in kind_of.items() if its == kind]
        decodable = [name for name in of_kind if name in copies]
        scores = np.array([closest(originals[name.split("/")[0]], copies[name]) for name in decodable])
        rows.append(
            {"copy": kind, "made": len(of_kind), "found": len(paired & set(of_kind)),
             "alike at least": scores[:, 0].min(), "together at least": scores[:, 1].min()}
        )  # fmt: skip
    total = sum(row["made"] for row in rows)
    rows.append({"copy": "all", "made": total, "found": sum(row["found"] for row in rows),
                 "alike at least": min(row["alike at least"] for row in rows),
                 "together at least": min(row["together at least"] for row in rows)})  # fmt: skip
    print(f"false pairs among {len(names)} clips, {len(names) * (len(names) - 1) // 2} pairs: {false}")
    return rows, false


def synthetic_clips(films: Sequence[ClipSketch], rooms: int, rng: np.random.Generator) -> list[ClipSketch]:
    """SYNTHETIC clips of MOMENTS pictures: those of a clip in another order, in one of so many rooms."""
    signs = rng.choice((-1, 1), (rooms, SKETCH)).astype(np.int8)
    clips = []
    for place in range(SYNTHETIC):
        one = films[place % len(films)]
        sketches = rng.choice(one.sketches[one.known], MOMENTS) * rng.choice(signs)
        clips.append(clip_sketch(range(0, 200 * MOMENTS, 200), sketches.tobytes()))
    return [clip for clip in clips if clip is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of a rendered world")
    parser.add_argument("--kept", type=Path, help="where copies and endings are kept; default: FOLDER-reposts")
    parser.add_argument("--sources", type=int, default=66, help="clips that a copy is made of")
    parser.add_argument("--workers", type=int, default=1, help="decode processes")
    options = parser.parse_args()
    kept = options.kept or options.folder.with_name(f"{options.folder.resolve().name}-reposts")
    kept.mkdir(parents=True, exist_ok=True)
    truth = read_clips_truth(options.folder)
    paths = {clip_id: options.folder / "clips" / f"{clip_id}.mp4" for clip_id in truth["clip_id"]}
    originals = decoded(paths, options.workers, kept / "originals")
    others = compare_originals(list(originals.values()), kinds_of_pairs(list(originals), truth))
    print(table([list(row.values()) for row in others], list(others[0])), flush=True)

    whole = truth.set_index("clip_id").loc[list(originals)]
    sources = whole.index[whole["damage"] == ""][:: max(1, len(whole) // options.sources)][: options.sources]
    kinds = list(REPOSTS)
    kind_of = {f"{source}/{place}": kinds[place % len(kinds)] for place, source in enumerate(sources)}
    copies = decoded(reposts(paths, kind_of, kept), options.workers, kept / f"copies-of-{len(kind_of)}")
    rows, false = compare_copies(originals, copies, kind_of)
    print(table([list(row.values()) for row in rows], list(rows[0])))

    rng = np.random.default_rng(0)
    times = []
    for rooms in (SYNTHETIC, ROOMS):
        clips = synthetic_clips(list(originals.values()), rooms, rng)
        start = perf_counter()
        pairs = find_near_duplicates(clips)
        times.append({"rooms": rooms, "clips": len(clips), "seconds": perf_counter() - start, "pairs": len(pairs)})
    print(table([list(row.values()) for row in times], list(times[0])))
    lengths = Counter(len(one.sketches) for one in originals.values())
    save("near-duplicates", {"moments": dict(sorted(lengths.items())), "others": others, "copies": rows,
                             "false_pairs": false, "times": times})  # fmt: skip


if __name__ == "__main__":
    main()
