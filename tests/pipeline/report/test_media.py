"""What is shown of single clips: which ones, how much of them, and that it is true to their rows."""

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.tiny_clips import render_clip
from models.extractors.places365 import CATEGORIES
from pipeline.core.options import DecodeLimits
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.calibration import calibration
from pipeline.modalities.record import Grid
from pipeline.modalities.tracks import Track
from pipeline.report import selection
from pipeline.report.checks import check, scene_names
from pipeline.report.page_file import MEDIA_BLOCK, media_blocks
from pipeline.report.render import Sources, render
from pipeline.report.selection import CHECKS, ends_first, to_check
from pipeline.report.similarity import CLEARLY, nearest_better, projected
from pipeline.report.skeletons import FPS, LEAST_FPS, preview
from pipeline.report.values import Pace, pace
from pipeline.runs.run import Run
from tests.support.feature_rows import face_rows, pose_rows, scene_rows
from tests.support.made_reports import CPU, DATASET, RUN, built, contents

# --- which clips


def test_the_best_and_the_worst_of_each_challenge_come_first() -> None:
    challenge = np.array(["a", "a", "b", "a", "a", "b", "b"])
    percentile = pd.Series([0.9, 0.1, 0.5, 0.6, np.nan, 0.8, 0.2])
    assert ends_first(challenge, percentile) == [0, 5, 1, 6, 3, 2]


def test_samples_hold_the_worst_extracted_and_others_by_the_seed() -> None:
    clips = pd.DataFrame(
        {"status": ["ok"] * 99 + ["failed"], "quality_pose": np.arange(100) / 100, "quality_face": 1.0}
    )
    chosen = to_check(clips, ["pose", "face"], seed=0)
    assert len(chosen) == len(set(chosen)) == CHECKS
    assert set(range(12)) <= set(chosen)
    assert chosen == to_check(clips, ["pose", "face"], seed=0)
    assert chosen != to_check(clips, ["pose", "face"], seed=1)
    assert to_check(clips.tail(5), ["pose", "face"], seed=0) == [0, 1, 2, 3]


def test_a_modality_whose_quality_is_always_lower_does_not_crowd_out_the_others() -> None:
    scene = np.random.default_rng(0).uniform(0.2, 0.4, 200)
    pose = np.where(np.isin(np.arange(200), [50, 100, 150]), [0.6], 0.9)
    clips = pd.DataFrame({"status": "ok", "quality_pose": pose, "quality_scene": scene})
    chosen = to_check(clips, ["pose", "scene"], seed=0)
    assert {50, 100, 150, *scene.argsort()[:6].tolist()} <= set(chosen)


# --- skeletons


def walking(frames: int) -> tuple[Track, Grid]:
    """Joints on a line that moves right, 10 px a frame; the last joint is never seen."""
    places = np.stack(np.broadcast_arrays(10.0 * np.arange(frames)[:, None], 5.0 * np.arange(17)[None]), 2)
    score = np.ones((frames, 17, 1))
    score[:, 16] = 0.1
    keypoints = np.concatenate([places, score], 2).astype(np.float32)
    valid = np.ones(frames, bool)
    track = Track(0, True, valid, keypoints, np.zeros((frames, 4), np.float32), valid.astype(np.float32))
    return track, Grid(np.arange(frames, dtype=np.int32), (np.arange(frames) / 10).astype(np.float32))


def test_a_preview_is_the_dancer_in_his_own_box_a_few_times_a_second() -> None:
    shown = preview(*walking(41), Pace(FPS, 5.0), 0.3)
    assert shown is not None
    assert shown.joints.shape == (21, 17, 3)
    assert (shown.joints[:, 16] == 0).all()
    assert (shown.joints[:, :16, 2] == 255).all()
    x = shown.joints[:, 0, 0].astype(int)
    assert (np.diff(x)[1:-1] > 0).all()
    assert x[0] < 20
    assert x[-1] > 235
    assert shown.aspect == pytest.approx(400 / 75, rel=0.5)
    entry = shown.entry()
    assert np.frombuffer(base64.b64decode(entry["joints"]), np.uint8).reshape(-1, 17, 3).shape[0] == 21


def test_nobody_gives_no_preview() -> None:
    track, grid = walking(10)
    assert preview(None, grid, Pace(FPS, 2.0), 0.3) is None
    assert preview(track, grid, Pace(FPS, 2.0), 1.5) is None


@pytest.mark.parametrize("clips", [1, 100, 1000, 5000, 50_000])
def test_however_many_clips_their_skeletons_fit(clips: int) -> None:
    seconds = np.random.default_rng(0).uniform(3, 60, clips)
    chosen = pace(seconds.tolist(), 130_000, FPS, LEAST_FPS)
    assert LEAST_FPS <= chosen.rate <= FPS
    frames = (np.minimum(seconds, chosen.seconds) * chosen.rate).astype(int) + 1
    assert frames.sum() <= 130_000 * 1.02 + clips
    if clips <= 100:
        assert chosen.rate == FPS


def test_evidence_of_a_clip_is_as_long_as_its_skeleton_and_sums_to_what_the_model_says(
    page_data: tuple[dict, list],
) -> None:
    payload, media = page_data
    entries = {int(row): entry for block in media for row, entry in block.items()}
    assert [row for row, has in enumerate(payload["clips"]["media"]) if has] == sorted(entries)
    seen = [entry for entry in entries.values() if entry["joints"]]
    assert (len(entries), len(seen)) == (26, 25)
    for entry in seen:
        frames = len(base64.b64decode(entry["joints"])) // 51
        assert len(entry["evidence"]["time"]) == frames
        assert len(entry["evidence"]["joint"]) == 17
        for values in entry["evidence"].values():
            assert max(map(abs, values)) <= 1


def test_evidence_is_for_the_clips_at_the_ends_where_there_are_many(
    workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "EVIDENCE_CLIPS", 4)
    payload, media = built(workspace)
    shown = [int(row) for block in media for row, entry in block.items() if entry["evidence"]]
    by_challenge: dict[int, list[int]] = {}
    for row in shown:
        by_challenge.setdefault(payload["clips"]["challenge"][row], []).append(payload["clips"]["rank"][row])
    sizes = [max(rank or 0 for rank, of in zip(payload["clips"]["rank"], payload["clips"]["challenge"], strict=True)
                 if of == at) for at in (0, 1)]  # fmt: skip
    assert len(shown) <= 4
    assert all(set(ranks) <= {1, sizes[of]} for of, ranks in by_challenge.items())


def test_blocks_hold_the_media_of_64_clips_each() -> None:
    divided = media_blocks({0: {"a": 1}, MEDIA_BLOCK - 1: {"a": 2}, MEDIA_BLOCK: {"a": 3}}, 2 * MEDIA_BLOCK + 1)
    assert [sorted(block) for block in divided] == [["0", "63"], ["64"], []]
    assert media_blocks({}, 0) == []


# --- similarity


def test_the_small_vectors_keep_the_cosines_of_the_embeddings() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(8, 40))
    rows = kinds[rng.integers(0, 8, 100)] + 0.3 * rng.normal(size=(100, 40))
    one, other = rows[:, :20].astype(np.float32), rows[:, 20:].astype(np.float32)
    small = projected({"one": one, "other": other}).astype(float)
    assert small.shape == (100, 16)

    def cosines(values: np.ndarray) -> np.ndarray:
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        return unit @ unit.T

    assert np.corrcoef(cosines(small).ravel(), cosines(rows).ravel())[0, 1] > 0.97
    other[3] = one[3] = np.nan
    assert not projected({"one": one, "other": other})[3].any()
    assert projected({}).size == 0


def test_the_nearest_better_clip_is_clearly_better_of_the_same_challenge_and_looks_alike() -> None:
    vectors = np.array([[100, 0], [90, 10], [0, 100], [99, 1], [99, 1]], np.int8)
    challenge = np.array(["a", "a", "a", "a", "b"])
    percentile = pd.Series([0.1, 0.9, 0.8, 0.1 + CLEARLY / 2, 0.9])
    assert nearest_better(vectors, challenge, percentile).tolist() == [1, -1, -1, 1, -1]
    percentile[0] = np.nan
    assert nearest_better(vectors, challenge, percentile)[0] == -1


# --- samples


def test_a_sample_says_how_many_people_and_which_scene() -> None:
    scene = scene_rows()
    entry = check(pose_rows(persons=3, frames=40), face_rows(faces=6), scene, CATEGORIES, np.array([1, 2]), "show")
    assert entry["people"] == 3
    names = [name for name, _ in entry["scene"]]
    assert len(names) == 5
    total = np.zeros(365)
    np.add.at(total, scene.top_category.ravel().astype(int), scene.top_probability.ravel())
    assert CATEGORIES.index(names[0]) == total.argmax()
    assert entry["indoor"] == pytest.approx(float(scene.indoor.mean()))
    assert len(entry["crops"]) == 2, "the lead's faces alone"
    nothing = check(None, None, None, (), np.zeros(0, np.int64), "show")
    assert nothing == {"crops": [], "scene": [], "indoor": None, "people": None}
    assert check(pose_rows(persons=0), None, None, (), np.zeros(0, np.int64), "show")["people"] == 0


def test_crops_are_left_out_or_covered_unless_faces_are_shown() -> None:
    buffer = io.BytesIO()
    stripes = np.zeros((160, 160, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes.repeat(4, 1)[:, :160]).save(buffer, "JPEG", quality=95)
    faces = face_rows(faces=1)
    faces = type(faces)(**(vars(faces) | {"crop": (buffer.getvalue(),)}))

    def contrast(show: str) -> float:
        (uri,) = check(None, faces, None, (), np.array([0]), show)["crops"]
        picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("L")
        return float(np.asarray(picture, float).std())

    assert contrast("show") > 60
    assert contrast("blur") < 12
    assert check(None, faces, None, (), np.array([0]), "none")["crops"] == []


def test_scenes_are_named_by_the_profiles_own_set_of_categories() -> None:
    options = {"extractor": {"categories": "demo8"}}
    assert scene_names({"options": json.dumps(options)})[:2] == ("bedroom", "kitchen")
    assert scene_names({}) == CATEGORIES


# --- with film


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, workspace: str) -> Sources:
    """Real video files for some of the clips; one is gone."""
    folder = tmp_path_factory.mktemp("films")
    names = contents(workspace).clips["clip_id"].tolist()[:5]
    uris = {name: str(render_clip(folder / f"{name}.mp4", seed=at, frames=16)) for at, name in enumerate(names)}
    hashes = {name: hashlib.sha256(Path(uri).read_bytes()).hexdigest() for name, uri in uris.items()}
    Path(uris[names[4]]).unlink()
    return Sources({name: (uri, hashes[name]) for name, uri in uris.items()}, limits=DecodeLimits(attempts=1))


def test_films_are_of_the_clips_whose_files_are_there_and_the_others_are_counted(
    workspace: str, sources: Sources
) -> None:
    payload, media = built(workspace, sources=sources)
    films = {row for block in media for row, entry in block.items() if entry["film"]}
    assert films == {"0", "1", "2", "3"}
    assert any("1 of the clips have no film" in one["text"] for one in payload["quality"]["warnings"])
    pictured = {one["clip"] for one in payload["checks"] if one["picture"]}
    assert pictured == {0, 1, 2, 3} & {one["clip"] for one in payload["checks"]}
    assert pictured


@pytest.mark.parametrize(("faces", "films"), [("none", 120), ("blur", 0)])
def test_where_no_pictures_are_wanted_there_are_none_but_skeletons(
    workspace: str, sources: Sources, faces: str, films: int
) -> None:
    payload, media = built(workspace, faces, films, sources)
    assert not any(entry["film"] for block in media for entry in block.values())
    assert not any(one["picture"] for one in payload["checks"])
    assert sum(bool(entry["joints"]) for block in media for entry in block.values()) == 25
    if faces == "none":
        assert "data:image" not in json.dumps([payload, media])


def test_the_page_is_one_file_that_holds_the_data(copied: Path, sources: Sources) -> None:
    render(DatasetFolder(str(copied), DATASET), Run(str(copied), RUN), CPU, sources=sources, name="june")
    text = (copied / RUN / "report.html").read_text()
    assert "clip000" in text
    assert "june" in text
    assert str(copied) not in text


# --- calibration


def judged(noise: float, count: int = 320) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    percentile = rng.uniform(0, 1, count)
    score = percentile + rng.normal(0, noise, count)
    return pd.DataFrame(
        {
            "challenge": "a",
            "group": np.arange(count),
            "percentile": percentile,
            "score": score,
            "fold": np.arange(count) % 4,
        }
    )


def test_calibration_says_where_clips_were_that_were_expected_somewhere() -> None:
    bins = calibration(judged(0.3), 0.8)
    assert [one["n"] for one in bins] == [32] * 10
    expected, actual = (np.array([one[name] for one in bins]) for name in ("expected", "actual"))
    assert (np.diff(expected) >= 0).all()
    assert np.abs(expected - actual).max() < 0.2
    assert np.ptp(actual) > 0.4


def test_clips_are_not_their_own_proof_of_calibration() -> None:
    """A score that says nothing is expected in the middle; on a map fitted with the clip itself it would look right."""
    clips = judged(0.3, 64).assign(score=np.random.default_rng(1).normal(size=64))
    expected, actual = ([one[name] for one in calibration(clips, 0.8)] for name in ("expected", "actual"))
    spread = np.corrcoef(expected, actual)[0, 1]
    assert spread < 0.5
    assert calibration(clips.head(10), 0.8) == []
    assert calibration(clips.head(0), 0.8) == []
