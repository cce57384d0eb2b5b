"""A dataset holds every clip of its batches, whatever became of it, and refers to nothing outside its workspace."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.virality.config import VdvConfig
from pipeline.core.errors import DataError, WorkspaceError
from pipeline.dataset import loading
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ChallengeBatches, ClipDataset
from pipeline.features.reader import ShardReader
from pipeline.features.shards import ShardWriter
from pipeline.modalities.appearance import AppearanceRows
from pipeline.modalities.face import FaceRows
from pipeline.modalities.record import evenly
from pipeline.modalities.registry import sources_of
from pipeline.modalities.scene import CATEGORIES as SCENE_CATEGORIES
from pipeline.modalities.scene import SceneRows
from tests.support.learnable_world import Clip, dancing, lead_face, make_batch, rows_of

CLIPS = [
    Clip("plain", likes=10, creator="a"),
    Clip("short", likes=20, creator="b", frames=1),
    Clip("not-a-video", likes=30, creator="c", fails="not_a_video"),
    Clip("damaged", likes=40, creator="d", fails="corrupt"),
    Clip("empty-stage", likes=50, creator="e", nobody=True),
    Clip("unlabelled", creator="a"),
    Clip("long", likes=60, creator="f", frames=650, challenge="wave"),
]
SMALL = VdvConfig(frames=16, samplings=2, max_frames=30)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "ws"
    assemble(DatasetFolder(str(folder), "datasets/one"), [make_batch(folder, CLIPS)])
    return folder


def samples(workspace: Path, training: bool = False, config: VdvConfig = SMALL) -> dict:
    dataset = ClipDataset(DatasetFolder(str(workspace), "datasets/one"), config, training)
    return {clip_id: dataset[0, row] for row, clip_id in enumerate(dataset.clips["clip_id"])}


def test_every_clip_is_a_row_and_says_how_it_ended(workspace: Path) -> None:
    clips = DatasetFolder(str(workspace), "datasets/one").read_clips().set_index("clip_id")
    assert clips.index.tolist() == [clip.clip_id for clip in CLIPS]
    assert clips.loc["not-a-video", ["status", "code"]].tolist() == ["failed", "not_a_video"]
    assert clips.loc["damaged", ["status", "code", "reason"]].tolist() == ["failed", "corrupt", "made to fail"]
    assert clips.loc["plain", ["status", "code", "width", "height"]].tolist() == ["ok", "", 720, 1280]
    assert clips["label"].isna().tolist() == [False] * 5 + [True, False]
    statistics = DatasetFolder(str(workspace), "datasets/one").read_statistics()
    assert statistics["status"] == {"ok": 5, "partial": 0, "failed": 2}
    assert statistics["codes"] == {"corrupt": 1, "not_a_video": 1}
    assert statistics["features"] == {"face": 512, "scene": 16, "appearance": 24, "audio": 20}
    assert statistics["modalities"] == {"pose": 5, "face": 5, "scene": 5, "appearance": 5, "audio": 5, "synchrony": 3}


def test_the_lead_dancers_faces_are_found_among_all(workspace: Path) -> None:
    pose, faces = dancing(CLIPS[0]), DatasetFolder(str(workspace), "datasets/one").read_faces()
    face, lead = lead_face(pose), pose.tracks[1]
    assert len(face.frame) > len(faces["plain"]) > 5
    for at in faces["plain"]:
        nose = lead.keypoints[face.frame[at] * 2, 0, :2]
        assert np.linalg.norm(face.landmarks[at, 2] - nose) < 1e-3
    assert "empty-stage" not in faces


def test_quality_is_detection_rate_times_confidence(workspace: Path) -> None:
    clips = DatasetFolder(str(workspace), "datasets/one").read_clips().set_index("clip_id")
    lead = dancing(CLIPS[0]).tracks[1]
    assert clips.loc["plain", "quality_pose"] == pytest.approx(
        lead.valid.mean() * lead.keypoints[lead.valid, :, 2].mean()
    )
    assert 0 < clips.loc["plain", "quality_face"] < 1
    assert clips.loc["empty-stage", "quality_pose"] == 0
    assert clips.loc["damaged", "quality_scene"] == 0


def test_pictures_are_seen_as_well_as_the_networks_are_sure_of_them(workspace: Path) -> None:
    clips = DatasetFolder(str(workspace), "datasets/one").read_clips().set_index("clip_id")
    for clip_id in ("plain", "long"):
        scene, appearance = (
            ShardReader(str(workspace / clips.loc[clip_id, f"shard_{modality}"])).read(clip_id)
            for modality in ("scene", "appearance")
        )
        assert isinstance(scene, SceneRows)
        assert isinstance(appearance, AppearanceRows)
        assert clips.loc[clip_id, "quality_scene"] == pytest.approx(scene.top_probability[:, 0].mean())
        length = np.linalg.norm(appearance.feature.astype(float), axis=1).mean()
        assert clips.loc[clip_id, "quality_appearance"] == pytest.approx(length / (1 + length), rel=1e-3)
    assert clips.loc["damaged", "quality_appearance"] == 0


def test_a_workspace_can_be_moved(workspace: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(workspace, tmp_path / "elsewhere"))
    text = (moved / "datasets/one/statistics.json").read_text()
    assert str(workspace) not in text
    clips = DatasetFolder(str(moved), "datasets/one").read_clips()
    assert not clips["shard_pose"].str.startswith("/").any()
    original, copy = samples(workspace), samples(moved)
    torch.testing.assert_close(original["plain"].inputs["pose"].values, copy["plain"].inputs["pose"].values)


def test_clips_are_loaded_with_masks_and_bounded_lengths(workspace: Path) -> None:
    of = samples(workspace)
    skeleton = of["plain"].inputs["pose"]
    assert skeleton.values.shape == (2, 9, 16, 17)
    assert skeleton.mask.any()
    assert of["short"].inputs["pose"].mask.any()
    assert of["long"].inputs["appearance"].values.shape == (30, 24)
    scene = of["long"].inputs["scene"].values
    assert scene.shape == (8, 16 + SCENE_CATEGORIES)
    probability = scene[:, 16:]
    assert ((probability > 0).sum(1) <= 5).all()  # those that shards keep
    assert (probability.sum(1) > 0).all()
    rows = rows_of("appearance", CLIPS[-1])
    assert isinstance(rows, AppearanceRows)
    stored = torch.tensor(rows.feature, dtype=torch.float32)
    assert torch.equal(of["long"].inputs["appearance"].values, stored[evenly(len(stored), 30)])  # in order of time
    assert of["plain"].inputs["face"].values.shape[1] == 512


def test_missing_modalities_are_ordinary(workspace: Path) -> None:
    of = samples(workspace)
    for clip_id in ("not-a-video", "damaged"):
        assert not any(modality.mask.any() for modality in of[clip_id].inputs.values())
    assert not of["empty-stage"].inputs["pose"].mask.any()
    assert of["empty-stage"].inputs["scene"].mask.any()


def test_a_collated_clip_is_the_clip_and_padding_behind(workspace: Path) -> None:
    dataset = ClipDataset(DatasetFolder(str(workspace), "datasets/one"), SMALL, training=False)
    together = dataset.collate([dataset[0, row] for row in range(len(dataset))])
    alone = dataset[0, 0].inputs["appearance"]
    length = len(alone.mask)
    torch.testing.assert_close(together.inputs["appearance"].values[0, :length], alone.values)
    assert not together.inputs["appearance"].mask[0, length:].any()
    assert together.counted.tolist() == [True] * 5 + [False, True]
    assert together.percentile.isfinite().all()
    nothing = dataset.collate([dataset[0, 2]])
    assert nothing.inputs["face"].values.shape == (1, 1, 512)


def test_a_training_sample_is_decided_by_seed_epoch_and_clip(workspace: Path) -> None:
    def values(config: VdvConfig, epoch: int) -> torch.Tensor:
        return (
            ClipDataset(DatasetFolder(str(workspace), "datasets/one"), config, training=True)[epoch, 0]
            .inputs["pose"]
            .values
        )

    assert values(SMALL, 3).shape == (1, 9, 16, 17)
    torch.testing.assert_close(values(SMALL, 3), values(SMALL, 3), rtol=0, atol=0)
    assert not torch.equal(values(SMALL, 3), values(SMALL, 4))


def test_a_clip_is_read_from_its_shard_once_for_all_epochs_and_views(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = ShardReader.read

    def counted(self: ShardReader, clip_id: str, *arguments: Any, **options: Any) -> Any:
        reads.append(clip_id)
        return read(self, clip_id, *arguments, **options)

    monkeypatch.setattr(ShardReader, "read", counted)
    dataset = ClipDataset(DatasetFolder(str(workspace), "datasets/one"), SMALL, training=True)
    for epoch in range(3):
        dataset[epoch, 0]
    shards = sum(len(sources_of(modality)) for modality in dataset.inputs)
    assert len(reads) == shards == 5 + 2  # of synchrony, poses and sound
    scoring = dataset.view("pose", training=False)
    torch.testing.assert_close(scoring[0, 0].inputs["pose"].values, scoring[9, 0].inputs["pose"].values)
    assert list(scoring[0, 0].inputs) == ["pose"]
    assert len(reads) == shards


def test_what_does_not_fit_in_memory_is_read_anew_and_is_the_same(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "CACHE_BYTES", 0)
    without_cache = ClipDataset(DatasetFolder(str(workspace), "datasets/one"), SMALL, training=True)
    monkeypatch.undo()
    with_cache = ClipDataset(DatasetFolder(str(workspace), "datasets/one"), SMALL, training=True)
    for epoch in (0, 1):
        for uncached, cached in zip(
            without_cache[epoch, 0].inputs.values(), with_cache[epoch, 0].inputs.values(), strict=True
        ):
            torch.testing.assert_close(uncached.values, cached.values, rtol=0, atol=0)
    assert len(pickle.dumps(with_cache)) < 2 * len(pickle.dumps(without_cache)), "kept clips do not travel"


def test_without_poses_the_largest_face_stands_for_the_leads(tmp_path: Path) -> None:
    files = make_batch(tmp_path / "ws", CLIPS[:1], modalities=("face",))
    assemble(DatasetFolder(str(tmp_path / "ws"), "datasets/one"), [files])
    face = rows_of("face", CLIPS[0])
    assert isinstance(face, FaceRows)
    assert len(DatasetFolder(str(tmp_path / "ws"), "datasets/one").read_faces()["plain"]) == len(np.unique(face.frame))
    assert list(samples(tmp_path / "ws")["plain"].inputs) == ["face"]


def test_a_clip_that_left_its_shard_since_is_missing_not_fatal(tmp_path: Path) -> None:
    files = make_batch(tmp_path / "ws", CLIPS[:2])
    assemble(DatasetFolder(str(tmp_path / "ws"), "datasets/one"), [files])
    (shard,) = Path(files.features["scene"]).glob("*.parquet")
    with ShardWriter(str(shard), "scene", ["plain"], {}) as writer:
        writer.add(rows_of("scene", CLIPS[0]))
    of = samples(tmp_path / "ws")
    assert not of["short"].inputs["scene"].mask.any()
    assert of["short"].inputs["scene"].quality == 0
    assert of["plain"].inputs["scene"].mask.any()


def test_a_dataset_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    leak = [Clip("one", likes=1, creator="a", split="train"), Clip("two", likes=2, creator="a", split="test")]
    with pytest.raises(DataError, match="one"):
        assemble(DatasetFolder(str(workspace), "datasets/one"), [make_batch(workspace, leak)])
    assert not (workspace / "datasets").exists()


def test_copies_are_known_by_their_file_or_by_their_pictures(tmp_path: Path) -> None:
    clips = [
        Clip("first", creator="a", likes=1, content="x", film=1),
        Clip("other", creator="b", likes=2, film=2),
        Clip("encoded-anew", creator="c", likes=3, film=1),
        Clip("same-file", creator="d", likes=4, content="x", film=1),
        Clip("broken", creator="e", likes=5, content="y", fails="corrupt"),
        Clip("broken-too", creator="f", likes=6, content="y", fails="corrupt"),
    ]
    workspace = tmp_path / "ws"
    assemble(DatasetFolder(str(workspace), "datasets/one"), [make_batch(workspace, clips)])
    copies = DatasetFolder(str(workspace), "datasets/one").read_clips().set_index("clip_id")["copies"]
    assert copies.dropna().to_dict() == {
        "first": "first", "encoded-anew": "first", "same-file": "first", "broken": "broken", "broken-too": "broken",
    }  # fmt: skip
    assert DatasetFolder(str(workspace), "datasets/one").read_statistics()["copies"] == {"of_a_file": 2, "near": 1}


def test_clips_with_the_same_sound_are_known_and_those_held_out_of_other_challenges_counted(tmp_path: Path) -> None:
    clips = [
        Clip("first", creator="a", likes=1, sound=1, split="train"),
        Clip("other", creator="b", likes=2, sound=2, split="train"),
        Clip("same", creator="c", likes=3, sound=1, split="test"),
        Clip("elsewhere", creator="d", likes=4, sound=1, split="test", challenge="wave"),
        Clip("alone", creator="e", likes=5, split="test", challenge="wave"),
        Clip("wave", creator="f", likes=6, sound=2, split="train", challenge="wave"),
        Clip("broken", creator="g", likes=7, fails="corrupt"),
    ]
    workspace = tmp_path / "ws"
    batch = make_batch(workspace, clips, modalities=("scene", "audio"))
    dataset = DatasetFolder(str(workspace), "datasets/one")
    assemble(dataset, [batch])
    sounds = dataset.read_clips().set_index("clip_id")["same_sound"]
    assert sounds.dropna().to_dict() == {
        "first": "first", "same": "first", "elsewhere": "first", "other": "other", "wave": "other",
    }  # fmt: skip
    assert dataset.read_statistics()["same_sound"] == {"clips": 5, "held_out_of_other_challenges": 1}


def test_a_dataset_without_sounds_has_none_the_same(tmp_path: Path) -> None:
    dataset = DatasetFolder(str(tmp_path / "ws"), "datasets/one")
    assemble(dataset, [make_batch(tmp_path / "ws", CLIPS, modalities=("pose", "scene"))])
    assert dataset.read_clips()["same_sound"].isna().all()
    assert dataset.read_statistics()["same_sound"] == {"clips": 0, "held_out_of_other_challenges": 0}


def test_a_split_that_tears_near_copies_apart_is_refused(tmp_path: Path) -> None:
    sides = {"one": "train", "two": "test", "three": "train", "four": "test"}
    clips = [Clip(name, creator=name, likes=9, split=side, film=len(name)) for name, side in sides.items()]
    workspace = tmp_path / "ws"  # one and two have three letters, and one film
    with pytest.raises(DataError, match=r"one \(train\) and two \(test\).*one film"):
        assemble(DatasetFolder(str(workspace), "datasets/one"), [make_batch(workspace, clips)])


def test_a_shard_that_is_not_there_is_named(tmp_path: Path) -> None:
    files = make_batch(tmp_path / "ws", CLIPS[:2])
    (shard,) = Path(files.features["scene"]).glob("*.parquet")
    shard.unlink()
    with pytest.raises(WorkspaceError, match=shard.name):
        assemble(DatasetFolder(str(tmp_path / "ws"), "datasets/one"), [files])


def test_weights_are_trained_only_where_the_shards_say_so(tmp_path: Path) -> None:
    for name, weights, expected in (("a", "sha256:ab", []), ("b", "untrained:0", ["pose", "scene"])):
        files = make_batch(tmp_path / name, CLIPS[:1], modalities=("pose", "scene"), weights=weights)
        assemble(DatasetFolder(str(tmp_path / name), "datasets/one"), [files])
        assert DatasetFolder(str(tmp_path / name), "datasets/one").read_statistics()["untrained"] == expected


def test_batches_hold_whole_challenges_and_every_clip_once() -> None:
    challenges = ["a"] * 5 + ["b"] * 3 + ["c"] * 23
    batches = ChallengeBatches(challenges, range(31), size=8, seed=0)
    first, second = list(batches), list(batches)
    assert len(first) == len(second) == len(batches)
    assert sorted(row for batch in first for _, row in batch) == list(range(31))
    assert {epoch for batch in second for epoch, _ in batch} == {1}
    assert first != [[(0, row) for _, row in batch] for batch in second]
    small = [batch for batch in first if any(row < 8 for _, row in batch)]
    assert len(small) == 1, "the two small challenges fit one batch and are not torn"
    assert all(len(batch) <= 8 for batch in first)


def test_thinning_is_even() -> None:
    assert evenly(5, 8).tolist() == [0, 1, 2, 3, 4]
    assert evenly(16, 4).tolist() == [2, 6, 10, 14]


def test_two_batches_make_one_dataset(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    batches = [make_batch(workspace, CLIPS[:1], "june"), make_batch(workspace, CLIPS[1:2], "july")]
    assemble(DatasetFolder(str(workspace), "datasets/one"), batches)
    clips = DatasetFolder(str(workspace), "datasets/one").read_clips()
    assert clips[["clip_id", "batch"]].to_numpy().tolist() == [["plain", "june"], ["short", "july"]]
    assert isinstance(clips, pd.DataFrame)
