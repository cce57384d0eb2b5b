"""Worlds without whole films: what they hold is what a whole film gives, and their skeletons err as it was measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.pose_errors import MeasuredPerson, PoseErrors, input_px
from benchmarks.thin_world import Seen, film_grid, thin_world
from benchmarks.world import ExtractedWorld
from pipeline.core import storage
from pipeline.core.options import DecodeLimits
from pipeline.dataset.folder import DatasetFolder
from pipeline.extraction.extract import extract_shards
from pipeline.features.plan import features_folder, plan_shards
from pipeline.features.reader import ShardReader
from pipeline.ingest.clip_table import read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.modalities.registry import build_extractor
from simulation.filming.film import film, label_frames
from simulation.filming.visibility import OCCLUDED, VISIBLE
from simulation.music.timing import heard_interval
from simulation.render import render_world, write_options
from simulation.truth import ClipTruth, PersonTruth, clips_table
from simulation.world import LikesOptions, WorldOptions, make_world

WORLD = WorldOptions(seed=14, clips=4, creators=2, challenges=1, seconds=(2.55, 2.6), broken=0.25)
FRAMES = 12


def person(
    clip_id: str, offset: float, kind: int = VISIBLE, found: Sequence[bool] = (True,) * FRAMES
) -> MeasuredPerson:
    """Somebody whose joints were all found `offset` input px to the right, with a score of 0.9."""
    shape = (FRAMES, 17)
    return MeasuredPerson(
        clip_id, "arms_up", False, False, True, np.array(found), np.zeros((*shape, 2), np.float32),
        np.full(shape, kind, np.int8),
        np.full((*shape, 2), (offset, 0), np.float32), np.full(shape, 0.9, np.float32),
        np.full(FRAMES, 0.8, np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ExtractedWorld:
    """Of four clips, one of them broken; the pose network errs by nothing."""
    folder = tmp_path_factory.mktemp("thin") / "world"
    folder.mkdir()
    write_options(folder, WORLD)
    return thin_world(folder, f"{folder}-workspace", PoseErrors([person("other", 0.0)], "none"), processes=1)


def test_pictures_of_a_thin_world_give_the_features_that_the_same_frames_of_a_whole_film_give(
    world: ExtractedWorld, tmp_path: Path
) -> None:
    write_options(tmp_path, WORLD)
    render_world(tmp_path, 1)
    workspace, whole = f"{tmp_path}-workspace", Seen.of(tmp_path, "")
    ingest = read_ingest(run_ingest(workspace, whole.batch, 1, DecodeLimits()))
    specs = [spec for spec in whole.specs if spec.modality == "appearance"]
    extract_shards(
        workspace, whole.batch.name, plan_shards(workspace, whole.batch.name, ingest, specs, whole.sampling).shards,
        lambda modality: build_extractor(modality, whole.profile, torch.device("cpu")),
        whole.sampling, DecodeLimits(), workers=1, device=torch.device("cpu"), profile="demo",
    )  # fmt: skip
    (shard,) = ingest.shards
    reader = ShardReader(f"{features_folder(workspace, whole.batch.name, specs[0])}/{shard}.parquet")
    clips = DatasetFolder(world.workspace, world.dataset).read_clips()
    thin = ShardReader(storage.join(world.workspace, clips["shard_appearance"].dropna().iloc[0]))
    assert thin.clip_ids == reader.clip_ids
    assert len(thin.clip_ids) == 3
    for clip_id in thin.clip_ids:
        few, all_rows = thin.read(clip_id), reader.read(clip_id)
        at = np.searchsorted(all_rows.grid.frame_index, few.grid.frame_index)
        np.testing.assert_array_equal(all_rows.grid.frame_index[at], few.grid.frame_index)
        np.testing.assert_allclose(all_rows.grid.timestamp[at], few.grid.timestamp, atol=1e-4)
        expected, feature = (_unit(rows.feature) for rows in (all_rows, few))  # type: ignore[attr-defined]
        assert (feature * expected[at]).sum(1).min() > 0.98


def _unit(feature: np.ndarray) -> np.ndarray:
    values = feature.astype(float)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_a_thin_world_has_the_skeletons_of_the_truth_and_a_label_for_every_clip_but_the_broken_one(
    world: ExtractedWorld,
) -> None:
    dataset = DatasetFolder(world.workspace, world.dataset)
    clips = dataset.read_clips().set_index("clip_id")
    assert clips["status"].tolist().count("failed") == 1
    reader = ShardReader(storage.join(world.workspace, clips["shard_pose"].dropna().iloc[0]))
    for upload in make_world(WORLD):
        script = upload.script
        if script.phone.damage:
            assert script.clip_id not in reader.clip_ids
            continue
        rows = reader.read(script.clip_id)
        grid = film_grid(script, Seen.of(world.folder, "").sampling)
        np.testing.assert_array_equal(rows.grid.frame_index, grid.frame_index)
        (lead,) = [track for track in rows.tracks if track.is_lead]  # type: ignore[attr-defined]
        true = np.array([labels[0].keypoints for labels in label_frames(script, grid.timestamp.astype(float))])
        shown = true[..., 2] == VISIBLE
        np.testing.assert_allclose(lead.keypoints[shown][:, :2], true[shown][:, :2], atol=1.0)
        assert np.isfinite(clips.loc[script.clip_id, "label"])
        assert all(clips.loc[script.clip_id, f"quality_{name}"] > 0 for name in ("pose", "appearance", "scene"))


def test_a_thin_world_hears_the_whole_clip_where_there_is_something_to_hear(world: ExtractedWorld) -> None:
    clips = DatasetFolder(world.workspace, world.dataset).read_clips()
    reader = ShardReader(storage.join(world.workspace, clips["shard_audio"].dropna().iloc[0]))
    codes = {"silent": "silent", "none": "no_sound"}
    kinds = set()
    for script in (upload.script for upload in make_world(WORLD)):
        if script.phone.damage:
            continue
        kinds.add(script.sound.kind)
        if script.sound.kind in codes:
            assert reader.skipped[script.clip_id] == codes[script.sound.kind]
            continue
        rows = reader.read(script.clip_id)
        # The last picture of a thin film is the last sampled one, up to a tenth of a second before the film's end.
        heard = np.array(heard_interval(script))
        np.testing.assert_allclose(rows.heard, heard, atol=0.15)  # type: ignore[attr-defined]
        assert rows.grid.frame_index.tolist() == [0, 1]  # windows, not frames
        assert len(rows.onset) == pytest.approx(100 * script.duration_s, abs=15)  # type: ignore[attr-defined]
    assert kinds == {"music", "silent", "none"}


def test_a_world_that_differs_in_its_likes_shares_the_features_and_has_labels_of_its_own(
    world: ExtractedWorld, tmp_path: Path
) -> None:
    write_options(tmp_path, replace(WORLD, likes=LikesOptions(skill=0.0, look=9.0)))
    errors = PoseErrors([person("other", 0.0)], "none")
    other = thin_world(tmp_path, world.workspace, errors, processes=1, pictures_of=world.folder)
    first, second = (DatasetFolder(one.workspace, one.dataset).read_clips() for one in (world, other))
    assert first["shard_pose"].equals(second["shard_pose"])
    assert not first["likes"].equals(second["likes"])
    write_options(tmp_path, replace(WORLD, seed=8))
    with pytest.raises(SystemExit, match="more than the likes"):
        thin_world(tmp_path, world.workspace, errors, processes=1, pictures_of=world.folder)


def test_labels_without_a_picture_are_those_of_the_film() -> None:
    script = make_world(replace(WORLD, hidden=0.5))[1].script
    seconds = np.array([0.0, 0.5])
    for (_, drawn), undrawn in zip(film(script, seconds), label_frames(script, seconds), strict=True):
        for one, other in zip(drawn, undrawn, strict=True):
            for name, value in vars(one).items():
                np.testing.assert_array_equal(value, getattr(other, name))


def test_a_joint_errs_as_the_donors_joints_do_that_are_as_visible() -> None:
    clip = clips_table(make_world(WORLD))[:1].to_dict("records")[0]
    keypoints = np.full((FRAMES, 17, 3), (100.0, 200.0, VISIBLE), np.float32)
    keypoints[:, 9:11, 2] = OCCLUDED
    nothing = np.zeros((FRAMES, 4), np.float32)
    lead = PersonTruth(0, 0, keypoints, nothing, nothing, np.zeros((FRAMES, 5, 2), np.float32), np.zeros(FRAMES))
    truth = ClipTruth(clip["clip_id"], np.arange(FRAMES, dtype=np.float32) / 10, (lead,))
    found = [index != 3 for index in range(FRAMES)]
    own = person(clip["clip_id"], 50.0)  # nobody takes errors of the same clip
    errors = PoseErrors([own, person("a", 2.0, VISIBLE, found), person("b", 7.0, OCCLUDED, found)], "made")
    people = errors.detect(clip, truth)
    assert [len(one) for one in people] == [int(seen) for seen in found]
    moved = (people[0].keypoints[0, :, 0] - 100) / input_px(clip)
    np.testing.assert_allclose(np.delete(moved, [9, 10]), 2.0, atol=1e-4)
    np.testing.assert_allclose(moved[9:11], 7.0, atol=1e-4)
