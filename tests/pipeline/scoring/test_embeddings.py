"""Embeddings of clips by a run's encoders, computed once and kept."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.virality.vdv import encode
from pipeline.core.errors import DataError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.dataset.loading import ClipDataset
from pipeline.runs.run import EMBEDDINGS, Run
from pipeline.runs.train import load_run, train_fusion
from pipeline.scoring.embeddings import read_embeddings, read_upload_embeddings, unit_rows
from pipeline.scoring.uploads import assemble_uploads, score_uploads
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.learnable_world import Clip, make_batch, speed_decides
from tests.support.whole_files import flip, write_json, write_table

ODD = [Clip("nobody", creator="zoe", likes=3, nobody=True), Clip("broken", creator="zoe", likes=3, fails="corrupt")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 24 clips, one in which nobody is seen and one that failed."""
    workspace = tmp_path_factory.mktemp("embeddings") / "ws"
    files = make_batch(workspace, [*speed_decides(24, seed=1), *ODD], modalities=("pose", "scene"))
    assemble(DatasetFolder(str(workspace), "datasets/one"), [files], LabelOptions(holdout=0.2))
    train_fusion(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), "runs/one"), ONE_EPOCH, CPU)
    return workspace


@pytest.fixture
def workspace(trained: Path) -> Path:
    """The run without embeddings."""
    (trained / "runs/one" / EMBEDDINGS).unlink(missing_ok=True)
    return trained


def embeddings(workspace: Path) -> dict[str, np.ndarray]:
    return read_embeddings(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), "runs/one"), CPU)


def test_rows_are_unit_vectors_in_the_datasets_order_and_nan_where_the_modality_is_missing(workspace: Path) -> None:
    vectors = embeddings(workspace)
    assert set(vectors) == {"pose", "scene"}
    clips = pd.read_parquet(workspace / "datasets/one/clips.parquet")["clip_id"]
    for modality, lacking in (("pose", {"nobody", "broken"}), ("scene", {"broken"})):
        values = vectors[modality]
        assert values.dtype == np.float32
        missing = np.isnan(values).all(1)
        assert set(clips[missing]) == lacking
        assert np.isfinite(values[~missing]).all()
        np.testing.assert_allclose(np.linalg.norm(values[~missing], axis=1), 1, atol=1e-5)


def test_a_row_is_what_the_encoder_says_of_that_clip_less_the_mean(workspace: Path) -> None:
    vectors = embeddings(workspace)["scene"]
    model, _ = load_run(Run(str(workspace), "runs/one"), CPU)
    dataset = ClipDataset(DatasetFolder(str(workspace), "datasets/one"), model.config, training=False)
    present = np.flatnonzero(~np.isnan(vectors).any(1))
    batch = dataset.collate([dataset[0, int(row)] for row in present])
    raw = encode(model.encoders["scene"], batch.inputs["scene"]).embedding.detach().numpy()
    centred = raw - raw.mean(0)
    np.testing.assert_allclose(vectors[present], centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=1e-4)


def test_they_are_made_once_and_read_the_same_from_the_file(workspace: Path) -> None:
    first = embeddings(workspace)
    path = workspace / "runs/one" / EMBEDDINGS
    modified = path.stat().st_mtime_ns
    model = workspace / "runs/one/model.safetensors"
    weights = model.read_bytes()
    model.unlink()  # nothing is computed
    try:
        second = embeddings(workspace)
    finally:
        model.write_bytes(weights)
    assert path.stat().st_mtime_ns == modified
    assert set(first) == set(second)
    for modality in first:
        np.testing.assert_array_equal(first[modality], second[modality])
    assert pq.read_table(path).column("clip_id").to_pylist()[:2] == ["clip000", "clip001"]


def test_a_run_that_was_trained_anew_is_looked_at_anew(workspace: Path) -> None:
    embeddings(workspace)
    run_path, path = workspace / "runs/one/run.json", workspace / "runs/one" / EMBEDDINGS
    before, modified = run_path.read_text(), path.stat().st_mtime_ns
    write_json(run_path, json.loads(before) | {"finished_at": "2031-01-01T00:00:00+00:00"})
    try:
        embeddings(workspace)
    finally:
        run_path.write_text(before)
    assert path.stat().st_mtime_ns != modified
    assert pq.read_metadata(path).metadata[b"finished_at"] == b"2031-01-01T00:00:00+00:00"


def test_a_damaged_file_is_made_again_with_a_warning(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, path = embeddings(workspace), workspace / "runs/one" / EMBEDDINGS
    flip(path, path.stat().st_size // 2)
    for modality, vectors in embeddings(workspace).items():
        np.testing.assert_array_equal(vectors, before[modality])
    assert f"{path} is damaged" in caplog.text


def test_another_dataset_is_refused_with_what_to_do(workspace: Path) -> None:
    with pytest.raises(DataError, match="was trained on datasets/one, not on datasets/two"):
        read_embeddings(DatasetFolder(str(workspace), "datasets/two"), Run(str(workspace), "runs/one"), CPU)


def test_clips_that_all_look_the_same_have_no_direction() -> None:
    values = np.tile(np.array([0.1, 0.7, -0.3], np.float32), (5, 1))
    values[3] = np.nan
    vectors = unit_rows(values, values[0].astype(np.float64) * (1 + 1e-8))
    assert (vectors[[0, 1, 2, 4]] == 0).all()
    assert np.isnan(vectors[3]).all()


def test_what_all_clips_share_does_not_make_them_alike(workspace: Path) -> None:
    for modality, vectors in embeddings(workspace).items():
        present = vectors[~np.isnan(vectors).any(1)]
        similarity = (present @ present.T)[np.triu_indices(len(present), 1)]
        assert abs(similarity.mean()) < 0.1, modality


def test_uploads_lie_in_the_space_of_the_runs_own_clips(workspace: Path) -> None:
    again = [clip for clip in speed_decides(24, seed=1) if clip.clip_id in ("clip003", "clip007")]
    files = make_batch(workspace, again, name="again", modalities=("pose", "scene"))
    assemble_uploads(DatasetFolder(str(workspace), "uploads/again"), [files])
    score_uploads(DatasetFolder(str(workspace), "uploads/again"), Run(str(workspace), "runs/one"), CPU)
    own = embeddings(workspace)
    vectors = read_upload_embeddings(
        DatasetFolder(str(workspace), "uploads/again"), Run(str(workspace), "runs/one"), CPU
    )
    for modality in ("pose", "scene"):
        np.testing.assert_allclose(vectors[modality], own[modality][[3, 7]], atol=1e-4)
    assert not (workspace / "uploads/again" / EMBEDDINGS).exists()


def test_uploads_that_another_run_scored_are_refused(workspace: Path) -> None:
    files = make_batch(workspace, [Clip("other")], name="other", modalities=("pose", "scene"))
    assemble_uploads(DatasetFolder(str(workspace), "uploads/other"), [files])
    score_uploads(DatasetFolder(str(workspace), "uploads/other"), Run(str(workspace), "runs/one"), CPU)
    path = workspace / "uploads/other/scores.parquet"
    scores = pd.read_parquet(path)
    write_table(path, scores.assign(score_scene=scores["score_scene"] + 0.5))
    with pytest.raises(DataError, match="uploads/other was not scored by runs/one"):
        read_upload_embeddings(DatasetFolder(str(workspace), "uploads/other"), Run(str(workspace), "runs/one"), CPU)
