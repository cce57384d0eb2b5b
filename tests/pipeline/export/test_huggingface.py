"""The export for Hugging Face, opened by `datasets`: splits, arrays with their shapes, and who is left out."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.export import huggingface
from pipeline.features.reader import ShardReader
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.tracks import lead_of
from tests.support.exports import HARD_CLIPS, clips_of, export
from tests.support.small_run import RUN


@pytest.fixture(scope="module")
def exported(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("huggingface") / "june"
    export(workspace, "huggingface", out, films=True)
    return out


@pytest.fixture(scope="module")
def loaded(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    from datasets import load_dataset

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
        return load_dataset(str(exported), cache_dir=str(tmp_path_factory.mktemp("cache")))


def test_the_splits_are_the_dataset_s_and_no_clip_is_lost(workspace: Path, loaded: dict) -> None:
    clips = clips_of(workspace)
    assert next(iter(loaded)) == "train"
    found = {split: table["clip_id"] for split, table in loaded.items()}
    assert {split: list(ids) for split, ids in found.items()} == {
        split: clips.loc[clips["split"] == split, "clip_id"].tolist() for split in found
    }
    assert sum(map(len, found.values())) == len(clips)


def test_labels_and_scores_are_the_run_s(workspace: Path, loaded: dict) -> None:
    scores = pd.read_parquet(workspace / RUN / "scores.parquet").set_index("clip_id")
    folds = pd.read_parquet(workspace / RUN / "folds.parquet").set_index("clip_id")
    rows = {row["clip_id"]: row for table in loaded.values() for row in table.remove_columns(arrays(table))}
    for clip_id, row in rows.items():
        assert row["score"] == pytest.approx(scores.loc[clip_id, "score"], nan_ok=True) or row["score"] is None
        assert row["label"] == (None if pd.isna(label := scores.loc[clip_id, "label"]) else label)
        assert row["fold"] == (folds.loc[clip_id, "fold"] if clip_id in folds.index else None)
    assert rows["broken"]["status"] == "failed"
    assert rows["broken"]["score"] is None
    assert "content_hash" not in rows["broken"]
    assert not [name for name in rows["broken"] if name.startswith("shard_")]
    assert rows["new0"]["uploaded_at"] == "2024-07-01T00:00:00+00:00"


def arrays(table: object) -> list[str]:
    from datasets import Value

    return [name for name, kind in table.features.items() if not isinstance(kind, Value)]  # type: ignore[attr-defined]


def test_arrays_are_tensors_of_the_shapes_declared(workspace: Path, loaded: dict) -> None:
    import torch

    clips = clips_of(workspace).set_index("clip_id")
    row = loaded["train"].with_format("torch")[3]
    pose = ShardReader(f"{workspace}/{clips.loc[row['clip_id'], 'shard_pose']}").read(row["clip_id"])
    assert isinstance(pose, PoseRows)
    lead = lead_of(pose.tracks)
    assert lead is not None
    assert row["pose_keypoints"].shape == (len(pose.grid.timestamp), 17, 3)
    assert torch.equal(row["pose_keypoints"], torch.tensor(lead.keypoints))
    assert torch.equal(row["pose_valid"], torch.tensor(lead.valid))
    of_lead = row["people_keypoints"][row["people_is_lead"]]
    assert torch.equal(of_lead, torch.tensor(lead.keypoints[lead.valid]))
    assert len(row["people_frame"]) == sum(track.valid.sum() for track in pose.tracks)
    assert row["scene_feature"].dtype == torch.float32
    assert row["scene_feature"].shape == (len(row["scene_timestamp"]), 16)


def test_a_clip_without_a_modality_has_arrays_of_length_0(loaded: dict) -> None:
    rows = {row["clip_id"]: row for table in loaded.values() for row in table.with_format("numpy")}
    assert rows["broken"]["pose_keypoints"].shape == (0, 17, 3)
    assert rows["nobody"]["people_keypoints"].shape == (0, 17, 3)
    assert rows["nobody"]["pose_keypoints"].shape[0] > 0
    assert not rows["nobody"]["pose_valid"].any()
    assert rows["nobody"]["people"] == 0


def test_columns_can_be_chosen_without_reading_the_others(exported: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    table = load_dataset(str(exported), split="test", columns=["clip_id", "score"], cache_dir=str(tmp_path))
    assert table.column_names == ["clip_id", "score"]


def test_the_card_states_no_licence_and_says_who_is_shown(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    assert "license: yours to choose" in card
    assert "\nlicense:" not in card
    assert "real people" in card
    assert "Embeddings and pictures of faces are left out" in card


def test_films_lie_beside_and_those_that_are_gone_are_counted(hard: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    exported = export(hard, "huggingface", tmp_path / "out", films=True)
    assert exported.without_film == {"missing": 1}
    tables = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    films = {row["clip_id"]: row["film"] for table in tables.values() for row in table}
    assert films.pop("gone") is None
    source = hard.parent / f"{hard.name}-source"
    for clip_id, film in films.items():
        assert (tmp_path / "out" / film).read_bytes() == (source / f"{clip_id}.mp4").read_bytes()
    assert len(list((tmp_path / "out/films").iterdir())) == len(films)


def test_faces_are_boxes_unless_biometrics_are_asked_for(hard: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    for biometrics in (False, True):
        export(hard, "huggingface", tmp_path / f"{biometrics}", biometrics=biometrics)
        tables = load_dataset(str(tmp_path / f"{biometrics}"), cache_dir=str(tmp_path / f"cache-{biometrics}"))
        rows = {row["clip_id"]: row for table in tables.values() for row in table.with_format("numpy")}
        row = rows["a.b.c"]
        assert row["face_box"].shape == (row["faces"], 4)
        assert row["faces"] > 0
        assert ("face_embedding" in row) == ("face_crop" in row) == biometrics
        if biometrics:
            assert row["face_embedding"].shape == (row["faces"], 512)
            assert len(row["face_crop"]) == row["faces"]
            assert row["face_crop"][0].shape[2] == 3
    assert rows["-1"]["audio_feature"].shape == (0, 20)
    assert rows["a.b.c"]["audio_log_mel"].shape[1] == 64
    assert set(rows) == {clip.clip_id for clip in HARD_CLIPS}


def test_files_hold_so_many_clips_and_no_more(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(huggingface, "FILE_CLIPS", 7)
    monkeypatch.setattr(huggingface, "GROUP_CLIPS", 3)
    export(workspace, "huggingface", tmp_path / "out")
    files = sorted((tmp_path / "out/data").glob("train-*.parquet"))
    sizes = [pq.ParquetFile(path).metadata for path in files]
    assert [size.num_rows for size in sizes] == [7, 7, 7, 7, 4]
    assert [size.num_row_groups for size in sizes] == [3, 3, 3, 3, 2]
    written = [clip for path in files for clip in pq.read_table(path, columns=["clip_id"])["clip_id"].to_pylist()]
    clips = clips_of(workspace)
    assert written == clips.loc[clips["split"] == "train", "clip_id"].tolist()
