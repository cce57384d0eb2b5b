"""New clips scored by a finished run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import DataError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.runs.run import Run
from pipeline.runs.train import train_fusion
from pipeline.scoring.scores import score_clips
from pipeline.scoring.uploads import assemble_uploads, score_uploads
from tasks.terminal_text import uploads_text
from tests.end_to_end.workspaces import contents
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.learnable_world import Clip, make_batch, speed_decides
from tests.support.whole_files import write_json

NEW = [
    Clip("new0", creator="zoe", likes=10**6, speed=0.2),
    Clip("new1", creator="zoe", likes=1, speed=1.4),
    Clip("new2", "wave", creator="yan", split="test", speed=0.7),
    Clip("far0", "elsewhere", likes=5, speed=0.5),
    Clip("broken", "wave", likes=9, fails="corrupt"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 24 clips, and its scores; NEW came later and is extracted and scored."""
    workspace = tmp_path_factory.mktemp("uploads") / "ws"
    files = make_batch(workspace, speed_decides(24, seed=1), modalities=("pose", "scene"))
    assemble(DatasetFolder(str(workspace), "datasets/one"), [files], LabelOptions(holdout=0.2))
    train_fusion(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), "runs/one"), ONE_EPOCH, CPU)
    score_clips(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), "runs/one"), CPU)
    new = make_batch(workspace, NEW, name="july", modalities=("pose", "scene"))
    assemble_uploads(DatasetFolder(str(workspace), "uploads/one"), [new])
    score_uploads(DatasetFolder(str(workspace), "uploads/one"), Run(str(workspace), "runs/one"), CPU)
    return workspace


def scores(workspace: Path, folder: str = "uploads/one") -> pd.DataFrame:
    return pd.read_parquet(workspace / folder / "scores.parquet").set_index("clip_id")


def test_every_upload_has_a_row_and_the_csv_holds_the_same(workspace: Path) -> None:
    table = scores(workspace)
    assert table.index.tolist() == [clip.clip_id for clip in NEW]
    assert table["score"].notna().tolist() == [True, True, True, True, False]
    assert table.loc["broken", ["abstained", "status", "code"]].tolist() == [True, "failed", "corrupt"]
    assert table.loc["new0", ["status", "code"]].tolist() == ["ok", ""]
    from_csv = pd.read_csv(workspace / "uploads/one/scores.csv", keep_default_na=False, na_values={"score": ""})
    assert from_csv.columns.tolist() == ["clip_id", *table.columns]
    np.testing.assert_allclose(from_csv["score"], table["score"])
    assert not {"split", "label"} & set(table.columns)


def test_the_likes_that_an_upload_already_has_are_not_looked_at(workspace: Path) -> None:
    clips = pd.read_parquet(workspace / "uploads/one/clips.parquet")
    assert clips[["likes", "label", "percentile"]].isna().all().all()
    assert (clips["split"] == "unlabelled").all()


def test_a_clip_is_scored_the_same_as_in_the_runs_own_dataset(workspace: Path) -> None:
    again = [clip for clip in speed_decides(24, seed=1) if clip.clip_id in ("clip003", "clip004")]
    files = make_batch(workspace, again, name="again", modalities=("pose", "scene"))
    assemble_uploads(DatasetFolder(str(workspace), "uploads/again"), [files])
    score_uploads(DatasetFolder(str(workspace), "uploads/again"), Run(str(workspace), "runs/one"), CPU)
    own = scores(workspace, "runs/one").loc[["clip003", "clip004"], "score"]
    np.testing.assert_allclose(scores(workspace, "uploads/again")["score"], own, atol=1e-5)


def test_a_modalitys_scores_are_numbers_in_a_file_where_no_clip_has_it_too(workspace: Path) -> None:
    files = make_batch(workspace, [Clip("alone", nobody=True)], name="alone", modalities=("pose", "scene"))
    assemble_uploads(DatasetFolder(str(workspace), "uploads/alone"), [files])
    score_uploads(DatasetFolder(str(workspace), "uploads/alone"), Run(str(workspace), "runs/one"), CPU)
    assert scores(workspace, "uploads/alone")["score_pose"].isna().all()
    types = pq.read_schema(workspace / "uploads/alone/scores.parquet")
    assert types.field("score_pose").type == types.field("score_scene").type == pa.float64()


def test_a_challenge_that_the_run_never_saw_is_scored_and_flagged_and_nothing_is_expected(workspace: Path) -> None:
    table = scores(workspace)
    assert table["known_challenge"].tolist() == [True, True, True, False, True]
    ends = table[["expected_percentile", "low", "high"]]
    assert ends.loc[["new0", "new1", "new2"]].notna().all().all()
    assert ends.loc[["far0", "broken"]].isna().all().all()
    assert (ends["low"] <= ends["high"])[:3].all()


def test_a_challenge_that_was_judged_but_never_trained_on_counts_as_unknown(workspace: Path) -> None:
    path = workspace / "runs/one/run.json"
    run = path.read_text()
    about = json.loads(run)
    write_json(path, about | {"data": about["data"] | {"challenges": ["shuffle"]}})
    score_uploads(DatasetFolder(str(workspace), "uploads/one"), Run(str(workspace), "runs/one"), CPU)
    path.write_text(run)
    table = scores(workspace)
    score_uploads(DatasetFolder(str(workspace), "uploads/one"), Run(str(workspace), "runs/one"), CPU)
    assert not table.loc["new2", "known_challenge"]
    assert np.isnan(table.loc["new2", "expected_percentile"])


def test_a_higher_level_gives_wider_intervals(workspace: Path) -> None:
    narrow: list[pd.Series] = []
    wide: list[pd.Series] = []
    for level, found in ((0.3, narrow), (0.9, wide)):
        score_uploads(DatasetFolder(str(workspace), "uploads/one"), Run(str(workspace), "runs/one"), CPU, level)
        table = scores(workspace)
        found.append((table["high"] - table["low"]).loc[["new0", "new1", "new2"]])
    score_uploads(DatasetFolder(str(workspace), "uploads/one"), Run(str(workspace), "runs/one"), CPU)
    assert (wide[0] > narrow[0]).all()


def test_scoring_uploads_leaves_run_and_dataset_as_they_are(workspace: Path) -> None:
    before = {name: contents(workspace / name) for name in ("runs", "datasets", "features", "clips")}
    score_uploads(DatasetFolder(str(workspace), "uploads/one"), Run(str(workspace), "runs/one"), CPU)
    assert {name: contents(workspace / name) for name in before} == before


def test_the_first_of_each_challenge_are_told_and_who_has_no_score(workspace: Path) -> None:
    table = DatasetFolder(str(workspace), "uploads/one").read_table("scores.parquet")
    lines = uploads_text(table, top=1)
    table = scores(workspace)
    best = table.loc[["new0", "new1"], "score"].idxmax()
    assert lines[0] == "elsewhere: 1 clips; the run was not trained on this challenge: an order, and no more"
    assert "percentile" not in lines[1]
    assert lines[2] == "shuffle: 2 clips"
    assert best in lines[3]
    assert f"percentile {round(100 * table.loc[best, 'expected_percentile'])} (" in lines[3]
    assert lines[-1] == "without a score: 1 clips: broken (corrupt)"
    assert len(lines) == 7


def test_random_weights_are_warned_of_when_uploads_are_scored(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = workspace / "runs/one/run.json"
    run = path.read_text()
    write_json(path, json.loads(run) | {"untrained": ["pose"]})
    score_uploads(DatasetFolder(str(workspace), "uploads/one"), Run(str(workspace), "runs/one"), CPU)
    path.write_text(run)
    assert "UNTRAINED WEIGHTS: pose" in caplog.text


def test_a_manifest_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to score"):
        assemble_uploads(DatasetFolder(str(tmp_path), "uploads/none"), [])


def test_what_is_expected_of_a_clip_trained_on_comes_from_a_model_that_did_not_see_it(workspace: Path) -> None:
    table = scores(workspace, "runs/one")
    held = pd.read_parquet(workspace / "runs/one/held_out.parquet").set_index("clip_id")
    trained = table[table["split"] == "train"]
    assert set(held.index) == set(trained.index)
    for challenge, clips in trained.groupby("challenge"):
        unseen = held.loc[clips.index, "score"]
        ordered = clips.loc[unseen.sort_values().index, "expected_percentile"]
        assert (np.diff(ordered) >= 0).all(), challenge
    assert not np.allclose(held.loc[trained.index, "score"], trained["score"])
    tested = table[table["split"] == "test"]
    for _, clips in tested.groupby("challenge"):
        assert (np.diff(clips.sort_values("score")["expected_percentile"]) >= 0).all()
