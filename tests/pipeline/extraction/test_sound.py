"""Sound from films to Parquet and back: each window is of its time, whatever comes between."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tiny_clips import render_clip
from models.extractors.extractor import Extractor
from pipeline.core.options import SOUND_HZ, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool, Sound
from pipeline.extraction.owners import Extraction, extract_by_owners
from pipeline.features.plan import FeatureSpec, feature_spec, plan_shards
from pipeline.features.reader import FeatureStore, ShardReader, tensors
from pipeline.modalities import registry
from tests.end_to_end.workspaces import contents
from tests.pipeline.decode.test_sound import CLICKS, EARLY, LATE, OPUS, PCM, SECONDS, track
from tests.support.extraction import (
    BATCH,
    CPU,
    LIMITS,
    SAMPLING,
    bits,
    endings_by_clip,
    extract,
    ingested,
    rows_by_clip,
    shard_file,
    specs,
    tiny,
)
from tests.support.loudness import LOUDNESS, WINDOW_S, LoudnessExtractor, LoudnessRows, build
from tests.support.sounded_films import FPS, SoundTrack, film

(SCENE,) = specs("scene")  # of a profile without the modality of these tests
FILMS: dict[str, Callable[[Path], Path]] = {
    "aac.mp4": lambda path: film(path, track()),
    "opus.webm": lambda path: film(path, track(**OPUS), codec="libvpx"),
    "aac.ts": lambda path: film(path, track()),
    "pcm.mov": lambda path: film(path, track(**PCM)),
    "late.mp4": lambda path: film(path, track(**LATE)),
    "late.mov": lambda path: film(path, track(**LATE, **PCM)),
    "early.mp4": lambda path: film(path, track(**EARLY), pictures_from_s=0.5),
    "early.ts": lambda path: film(path, track(**EARLY), pictures_from_s=0.5),
    "edited.mp4": lambda path: film(path, track(), pictures_from_s=-10 / FPS, seconds=SECONDS + 10 / FPS),
}


@pytest.fixture(autouse=True)
def loudness(monkeypatch: pytest.MonkeyPatch) -> FeatureSpec:
    tiny("scene")
    monkeypatch.setattr(registry, "MODALITIES", (*registry.MODALITIES, LOUDNESS))
    return feature_spec("loudness", SAMPLING, 1, {"weights": "untrained:0"})


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    made = [make(folder / name) for name, make in FILMS.items()]
    return [path.rename(folder / f"{path.stem}_{path.suffix[1:]}{path.suffix}") for path in made]


def by_owners(workspace: Path, films: list[Path], spec: FeatureSpec, owners: int) -> dict[str, LoudnessRows]:
    shards = {f"{place:05d}-a": films[place::4] for place in range(4)}
    plans = plan_shards(str(workspace), BATCH, ingested(shards), [spec], SAMPLING).shards
    extraction = Extraction(str(workspace), BATCH, plans, build, SAMPLING, LIMITS, 2, "tiny")
    assert extract_by_owners(extraction, [CPU] * owners).endings == {"ok": len(films)}
    return rows_by_clip(workspace, spec)


def with_loudness(finder: LoudnessExtractor) -> Callable[[str], Extractor]:
    return lambda modality: finder if modality == "loudness" else tiny(modality)


def test_a_click_is_in_the_window_of_its_time(films: list[Path], loudness: FeatureSpec, tmp_path: Path) -> None:
    one = by_owners(tmp_path / "one", films, loudness, 1)
    assert len(one) == len(FILMS)
    for name, rows in one.items():
        assert isinstance(rows, LoudnessRows)
        assert len(rows.feature) == len(rows.grid.timestamp) == pytest.approx(SECONDS / WINDOW_S, abs=1)
        np.testing.assert_allclose(rows.grid.timestamp, (rows.grid.frame_index + 0.5) * WINDOW_S, atol=1e-5)
        loud = rows.grid.timestamp[(rows.feature[:, 0] > 0.1).nonzero()]
        onsets = loud[np.diff(loud, prepend=-1) > 0.1]
        # The first click of a sound that starts half a second late is cut off.
        np.testing.assert_allclose(onsets, CLICKS[name.startswith("late") :], atol=0.005, err_msg=name)
        valid = tensors(rows).valid.numpy()
        unheard = valid.argmax() * WINDOW_S
        assert unheard == pytest.approx(0.5 if name.startswith("late") else 0.0, abs=0.03)
        assert valid[int(0.55 / WINDOW_S) : int((SECONDS - 0.05) / WINDOW_S)].all()
    two = by_owners(tmp_path / "two", films, loudness, 2)
    assert {name: bits(rows) for name, rows in two.items()} == {name: bits(rows) for name, rows in one.items()}
    assert contents(tmp_path / "two" / "features") == contents(tmp_path / "one" / "features") != {}


def test_windows_of_several_clips_share_batches_and_come_out_as_alone(
    films: list[Path], loudness: FeatureSpec, tmp_path: Path
) -> None:
    finder = LoudnessExtractor(batch_size=512)
    extract(tmp_path / "together", {"00000-a": films[:4]}, [loudness], build=with_loudness(finder))
    assert max(finder.clips_of_batches) > 1
    together = rows_by_clip(tmp_path / "together", loudness)
    for film_ in films[:4]:
        extract(tmp_path / film_.stem, {"00000-a": [film_]}, [loudness], build=with_loudness(LoudnessExtractor(512)))
        assert bits(rows_by_clip(tmp_path / film_.stem, loudness)[film_.stem]) == bits(together[film_.stem])


def test_pictures_and_sound_of_one_decoding_are_those_of_two(
    films: list[Path], loudness: FeatureSpec, tmp_path: Path
) -> None:
    finder = LoudnessExtractor()
    shards = {"00000-a": films[:3]}
    extract(tmp_path / "both", shards, [SCENE, loudness], build=with_loudness(finder))
    assert len(finder.sounds) == 3
    assert float(finder.sounds[0].abs().max()) == pytest.approx(0.7, rel=0.15)

    def only_sound(modality: str) -> Extractor:
        assert modality == "loudness"
        return LoudnessExtractor()

    extract(tmp_path / "each", shards, [loudness], build=only_sound)
    first = endings_by_clip(tmp_path / "each", "00000-a")
    extract(tmp_path / "each", shards, [SCENE, loudness])
    for spec in (SCENE, loudness):
        each, both = (rows_by_clip(tmp_path / name, spec) for name in ("each", "both"))
        assert {name: bits(rows) for name, rows in each.items()} == {name: bits(rows) for name, rows in both.items()}
    both = endings_by_clip(tmp_path / "both", "00000-a")
    assert {name: replace(ending, decode_s=0) for name, ending in first.items()} == {
        name: replace(ending, decode_s=0) for name, ending in both.items()
    }


def test_a_plan_that_lacks_sound_alone_asks_for_no_pictures(
    films: list[Path], loudness: FeatureSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[int, ...], bool]] = []
    _note_jobs(monkeypatch, asked)
    for wanted in ([loudness], [SCENE], [loudness, SCENE], []):
        name = "-".join(spec.modality for spec in wanted) or "none"
        extract(tmp_path / name, {"00000-a": films[:1]}, wanted, build=with_loudness(LoudnessExtractor()))
    assert asked == [((), True), ((SCENE.stride,), False), ((SCENE.stride,), True), ((), False)]
    assert [endings_by_clip(tmp_path / "none", "00000-a")[films[0].stem].frames] == [SECONDS * 10]


def test_a_clip_that_cannot_be_heard_is_skipped_with_its_code(loudness: FeatureSpec, tmp_path: Path) -> None:
    silence = SoundTrack(np.zeros((2, 3 * 44_100), np.float32))
    clips = [
        film(tmp_path / "good.mp4", track()),
        film(tmp_path / "none.mp4"),
        film(tmp_path / "silence.mp4", silence),
        film(tmp_path / "renamed.mkv", track()),
        film(tmp_path / "last.mp4", track()),
    ]
    clips[3].write_bytes(clips[3].read_bytes().replace(b"A_AAC", b"A_AAX"))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    ended = extract(
        tmp_path, {"00000-a": [*clips, text]}, [SCENE, loudness], build=with_loudness(LoudnessExtractor()), workers=2
    )
    assert ended == {"ok": 5, "failed": 1}
    shard = ShardReader(shard_file(tmp_path, loudness, "00000-a"))
    assert shard.clip_ids == ("good", "last")
    assert shard.skipped == {
        "none": "no_sound", "silence": "silent", "renamed": "undecodable", "text": "not_a_video",
    }  # fmt: skip
    assert ShardReader(shard_file(tmp_path, SCENE, "00000-a")).skipped == {"text": "not_a_video"}
    endings = endings_by_clip(tmp_path, "00000-a")
    assert {ending.status for name, ending in endings.items() if name != "text"} == {"ok"}
    store = FeatureStore({"loudness": [shard.path]})
    assert dict(store.skipped("loudness")) == dict(shard.skipped)
    with pytest.raises(KeyError, match=r"clip silence has no loudness rows: it was skipped \(silent\)"):
        store.read("loudness", "silence")


def test_a_shard_of_clips_without_sound_is_whole(loudness: FeatureSpec, tmp_path: Path) -> None:
    clips = [render_clip(tmp_path / f"{place}.mp4", seed=place) for place in range(3)]
    shards = {"00000-a": clips}
    extract(tmp_path, shards, [loudness], build=with_loudness(LoudnessExtractor()))
    shard = ShardReader(shard_file(tmp_path, loudness, "00000-a"))
    assert (shard.clip_ids, set(shard.skipped.values())) == ((), {"no_sound"})
    assert plan_shards(str(tmp_path), BATCH, ingested(shards), [loudness], SAMPLING).shards == ()


@pytest.mark.parametrize("with_pictures", [True, False])
def test_a_clip_whose_worker_died_behind_its_sound_has_each_window_once(
    loudness: FeatureSpec, tmp_path: Path, hostile: None, with_pictures: bool
) -> None:
    good = film(tmp_path / "good.mp4", track())
    bad = tmp_path / "once-done-segfault-1.mp4"
    bad.write_bytes(good.read_bytes())
    finder = LoudnessExtractor()
    wanted = [SCENE, loudness] if with_pictures else [loudness]
    assert extract(tmp_path, {"00000-a": [bad, good]}, wanted, build=with_loudness(finder)) == {"ok": 2}
    assert len(finder.sounds) == 3  # that of the dead attempt did reach the extractor
    for spec in wanted:
        rows = rows_by_clip(tmp_path, spec)
        assert bits(rows[bad.stem]) == bits(rows["good"])
    assert endings_by_clip(tmp_path, "00000-a")[bad.stem].attempts == 2


def test_a_sound_that_crashes_its_worker_is_skipped_and_the_pictures_are_kept(
    loudness: FeatureSpec, tmp_path: Path, hostile: None
) -> None:
    bad, good = (film(tmp_path / f"{name}.mp4", track()) for name in ("sound-segfault-1", "good"))
    wanted = [SCENE, loudness]
    assert extract(tmp_path, {"00000-a": [bad, good]}, wanted, build=with_loudness(LoudnessExtractor())) == {"ok": 2}
    assert ShardReader(shard_file(tmp_path, loudness, "00000-a")).skipped == {bad.stem: "undecodable"}
    scenes = rows_by_clip(tmp_path, SCENE)
    assert bits(scenes[bad.stem]) == bits(scenes["good"])


def test_a_sounds_files_depend_on_what_its_samples_depend_on(loudness: FeatureSpec) -> None:
    def fingerprint(sampling: SamplingOptions, stride: int = 1) -> str:
        return feature_spec("loudness", sampling, stride, {"weights": "untrained:0"}).fingerprint

    assert fingerprint(replace(SAMPLING, sample_fps=5.0, max_side=96, decoder="decord"), 2) == loudness.fingerprint
    assert fingerprint(replace(SAMPLING, max_seconds=9.0)) != loudness.fingerprint
    assert loudness.identity["sound"]["hz"] == SOUND_HZ


def _note_jobs(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[tuple[int, ...], bool]]) -> None:
    """Note what is asked for of each clip."""
    real = DecodePool.run

    def run(pool: DecodePool, jobs: Iterable[DecodeJob | None]) -> Iterator[Chunk | Sound | Ending]:
        def noted() -> Iterator[DecodeJob | None]:
            for job in jobs:
                assert job is not None
                asked.append((job.strides, job.sound))
                yield job

        return real(pool, noted())

    monkeypatch.setattr(DecodePool, "run", run)
