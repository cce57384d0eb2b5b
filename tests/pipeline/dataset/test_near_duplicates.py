"""Reposts are found whatever was done to them; other clips of the same dance, room and camera are not."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reposts import REPOSTS, Repost, repost
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.dataset.near_duplicates import (
    MIN_CHANGE_CORRELATION,
    MIN_SIMILARITY,
    ClipSketch,
    clip_sketch,
    compare_shifts,
    find_near_duplicates,
    is_near_duplicate,
    name_originals,
)
from pipeline.decode.clips import Ending
from pipeline.decode.picture_sketch import SKETCH
from pipeline.decode.pool import DecodeJob, DecodePool
from simulation.filming.film import film as film_script
from simulation.filming.film import frame_times
from simulation.filming.recording import record
from simulation.world import WorldOptions, make_world

DANCERS = 3


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three dancers do one choreography, the first two in one room before one camera, the third in another bedroom."""
    folder = tmp_path_factory.mktemp("originals")
    uploads = make_world(WorldOptions(seed=3, clips=DANCERS, creators=DANCERS, broken=0, seconds=(4.5, 4.5)))
    first = uploads[0].script
    paths = []
    for number, upload in enumerate(uploads):
        script = upload.script
        script = replace(
            script, dance="wave", scene="bedroom", people=script.people[:1], shots=first.shots[:1],
            scene_seed=first.scene_seed if number < 2 else script.scene_seed,
            phone=replace(first.phone, width=180, height=320, fps=24, variable_rate=False, rotation=0, codec="h264"),
        )  # fmt: skip
        seconds = frame_times(script)
        path = folder / f"dancer{number}.mp4"
        record(path, (picture for picture, _ in film_script(script, seconds)), seconds, script.phone)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def filmed(originals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClipSketch]:
    """Originals by file name and reposts of the first dancer's by what was done, through the real decoder."""
    folder = tmp_path_factory.mktemp("reposts")
    paths = {path.stem: path for path in originals}
    for number, (name, how) in enumerate(REPOSTS.items()):
        paths[name] = repost(originals[0], folder / f"{number}.mp4", how)
    return {name: sketch_of(ending.sketch_ms, ending.sketches) for name, ending in decoded(paths).items()}


def sketch_of(sketch_ms: Sequence[int], sketches: bytes) -> ClipSketch:
    sketch = clip_sketch(sketch_ms, sketches)
    assert sketch is not None
    return sketch


def decoded(paths: dict[str, Path], stride: int = 10) -> dict[str, Ending]:
    jobs = [DecodeJob(name, str(path), (stride,)) for name, path in paths.items()]
    endings = {}
    with DecodePool(SamplingOptions(), DecodeLimits(slot_mb=8), workers=1) as pool:
        for event in pool.run(jobs):
            if isinstance(event, Ending):
                endings[event.clip_id] = event
            else:
                event.release()
    return endings


@pytest.mark.parametrize("how", REPOSTS)
def test_a_repost_is_found(filmed: dict[str, ClipSketch], how: str) -> None:
    assert is_near_duplicate(filmed["dancer0"], filmed[how])
    assert is_near_duplicate(filmed[how], filmed["dancer0"])


def test_two_reposts_of_one_clip_are_copies_of_one_another(filmed: dict[str, ClipSketch]) -> None:
    assert is_near_duplicate(filmed["caption over it"], filmed["first second cut"])


@pytest.mark.parametrize(("first", "second"), itertools.combinations(range(DANCERS), 2))
def test_others_who_dance_the_same_are_no_copies(filmed: dict[str, ClipSketch], first: int, second: int) -> None:
    assert not is_near_duplicate(filmed[f"dancer{first}"], filmed[f"dancer{second}"])


def test_no_others_repost_is_a_copy(filmed: dict[str, ClipSketch]) -> None:
    films: list[ClipSketch | None] = list(filmed.values())
    pairs = find_near_duplicates(films)
    of_first = [place for place, name in enumerate(filmed) if name not in ("dancer1", "dancer2")]
    assert {place for pair in pairs for place in pair} == set(of_first)
    named = name_originals(list(filmed), [""] * len(films), pairs)
    assert named == ["dancer0" if place in of_first else None for place in range(len(films))]


def test_a_cut_start_shows_as_a_shift(filmed: dict[str, ClipSketch]) -> None:
    whole, cut = filmed["dancer0"], filmed["first second cut"]
    agreement = compare_shifts(whole, cut)
    best = np.argmax(np.where(agreement.long_enough, agreement.change_correlation, -1))
    assert (len(whole.known) - 1 - best) * 0.2 == pytest.approx(REPOSTS["first second cut"].skip_s, abs=0.2)


def test_the_same_pictures_are_sketched_whatever_the_modalities_want(originals: list[Path]) -> None:
    by_stride = [decoded({"clip": originals[0]}, stride)["clip"] for stride in (1, 3, 10)]
    assert len({(ending.sketch_ms, ending.sketches) for ending in by_stride}) == 1
    assert np.diff(by_stride[0].sketch_ms) == pytest.approx(200, abs=50)
    assert len(by_stride[0].sketches) == 23 * SKETCH


def moving(seconds: float, seed: int) -> tuple[list[int], np.ndarray]:
    """sketch_ms, and int8 [S, 100], of a made-up clip: a room, and something in it that changes at random."""
    rng = np.random.default_rng(seed)
    count = round(5 * seconds)
    return list(range(0, 200 * count, 200)), rng.integers(-12, 13, SKETCH, np.int8) + rng.integers(
        -6, 7, (count, SKETCH), np.int8
    )


def made_sketch(times: list[int], sketches: np.ndarray) -> ClipSketch:
    sketch = clip_sketch(times[: len(sketches)], sketches.tobytes())
    assert sketch is not None
    return sketch


def test_clips_too_short_to_say_are_nobodys_copies() -> None:
    times, sketches = moving(8, seed=0)
    assert clip_sketch((), b"") is None
    assert clip_sketch(times[:12], sketches[:12].tobytes()) is None
    whole, start = made_sketch(times, sketches), made_sketch(times, sketches[:13])
    assert find_near_duplicates([whole, None, start]) == [(0, 2)]
    assert find_near_duplicates([None, None]) == find_near_duplicates([]) == []


def test_clips_that_share_less_than_half_of_the_shorter_are_no_copies() -> None:
    times, sketches = moving(20, seed=0)
    ahead = np.random.default_rng(1).integers(-20, 20, (60, SKETCH), np.int8)
    whole = made_sketch(times, sketches)
    assert is_near_duplicate(whole, made_sketch(times, np.concatenate([ahead[:30], sketches[:70]])))
    assert not is_near_duplicate(whole, made_sketch(times, np.concatenate([ahead, sketches[:40]])))


def test_pictures_that_are_missing_say_nothing() -> None:
    times, sketches = moving(10, seed=0)
    kept = np.array([place for place in range(len(times)) if not 20 <= place < 30])
    with_gap = made_sketch([times[place] for place in kept], sketches[kept])
    assert with_gap.known.sum() == len(kept)
    agreement = compare_shifts(made_sketch(times, sketches), with_gap)
    at = np.argmax(agreement.change_correlation)
    assert agreement.similarity[at] == pytest.approx(1)
    assert agreement.shared[at] == len(kept)


def test_strangers_in_one_room_are_alike_but_do_not_move_together() -> None:
    times, sketches = moving(10, seed=0)
    shuffled = np.random.default_rng(1).permutation(sketches)
    agreement = compare_shifts(made_sketch(times, sketches), made_sketch(times, shuffled))
    assert agreement.similarity[agreement.long_enough].max() > MIN_SIMILARITY
    assert agreement.change_correlation[agreement.long_enough].max() < MIN_CHANGE_CORRELATION
    assert not is_near_duplicate(made_sketch(times, sketches), made_sketch(times, shuffled))


def test_clips_in_which_nothing_moves_are_no_copies() -> None:
    times, sketches = moving(8, seed=0)
    still = made_sketch(times, sketches[:1].repeat(len(times), 0))
    assert compare_shifts(still, still).similarity.max() == pytest.approx(1)
    assert not is_near_duplicate(still, still)


def test_names_follow_files_and_pictures_and_chain() -> None:
    names = [f"c{place}" for place in range(7)]
    assert name_originals(names, ["x", "", "x", "", "y", "z", ""], [(2, 3), (4, 6)]) == [
        "c0", None, "c0", "c0", "c4", None, "c4",
    ]  # fmt: skip
    assert name_originals([], [], []) == []


def test_many_clips_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    films = [made_sketch(*moving(6, seed=seed)) for seed in range(40)]
    films[37], films[22] = films[3], films[21]
    monkeypatch.setattr("pipeline.dataset.near_duplicates._BLOCK", 7)
    assert find_near_duplicates(films) == [(3, 37), (21, 22)]


def test_a_repost_of_which_nothing_is_left_is_an_error(originals: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing of"):
        repost(originals[0], tmp_path / "x.mp4", Repost(skip_s=60))
    assert not (tmp_path / "x.mp4").exists()
