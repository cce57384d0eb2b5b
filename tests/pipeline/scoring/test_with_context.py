"""A forecast that knows the creator: the context is a part of the score that is named, and nothing of the content."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from pipeline.core.errors import DataError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.evaluation.cross_validation import cross_validate
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.evaluation.predictors import predictors_in
from pipeline.metrics.ranking import percentile_within
from pipeline.report.render import Sources, build
from pipeline.report.run_contents import read_run_contents
from pipeline.runs.run import FOLDS, FOLDS_ABOUT, Run
from pipeline.runs.train import train_fusion
from pipeline.scoring.recommendation import read_candidates
from pipeline.scoring.recommendation_options import RecommendOptions
from pipeline.scoring.scores import score_clips
from pipeline.scoring.uploads import Compared, assemble_uploads, score_uploads
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.learnable_world import Clip, make_batch

WITH = replace(ONE_EPOCH, context=True, samplings=1)
CREATORS = 18
FAME = np.random.default_rng(2).normal(0, 1.5, CREATORS)


def famous_creators() -> list[Clip]:
    """Six clips a creator, a day apart; likes follow the creator's fame, and how fast the dancer is."""
    rng = np.random.default_rng(3)
    clips = []
    for place in range(6 * CREATORS):
        creator, speed = place % CREATORS, float(rng.uniform(0.1, 1.5))
        likes = int(np.exp(6 + FAME[creator] + speed + rng.normal(0, 0.3)))
        day = f"2024-06-{1 + place // CREATORS:02d}T{creator:02d}:00:00Z"
        clips.append(Clip(f"clip{place:03d}", ("shuffle", "wave")[place % 2], f"creator{creator}", likes=likes,
                          uploaded_at=day, speed=speed, frames=30))  # fmt: skip
    return clips


NEW = [
    Clip(f"new{creator}", creator=f"creator{creator}", likes=1, speed=0.8, uploaded_at="2024-07-01T00:00:00Z",
         frames=30)
    for creator in (int(FAME.argmax()), int(FAME.argmin()))
]  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with the context, judged by folds, and two uploads scored by it."""
    workspace = tmp_path_factory.mktemp("context") / "ws"
    files = make_batch(workspace, famous_creators(), modalities=("pose", "scene"))
    dataset, run = DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), "runs/one")
    assemble(dataset, [files], LabelOptions("likes", holdout=0.2))
    train_fusion(dataset, run, WITH, CPU)
    folds = cross_validate(dataset, WITH, CPU, folds=2, baselines=True)
    run.write_table(FOLDS, folds)
    run.write_json(FOLDS_ABOUT, {"protocol": "kfold", "asked": 2, "folds": 2, "clips": len(folds)})
    score_clips(dataset, run, CPU)
    new = make_batch(workspace, NEW, name="july", modalities=("pose", "scene"))
    assemble_uploads(DatasetFolder(str(workspace), "uploads/one"), [new], compared=Compared.of(run))
    score_uploads(DatasetFolder(str(workspace), "uploads/one"), run, CPU)
    return str(workspace)


def skill(folds: pd.DataFrame, column: str) -> float:
    by_challenge = folds.groupby("challenge")[["label", column]]
    return float(np.mean([spearmanr(clips["label"], clips[column]).statistic for _, clips in by_challenge]))


def test_context_alone_finds_the_record_and_the_score_with_it_beats_that_without(workspace: str) -> None:
    folds = Run(workspace, "runs/one").read_table(FOLDS)
    assert skill(folds, "baseline_context") > 0.6
    assert skill(folds, "score_context") > 0.6
    assert skill(folds, "score") > skill(folds, "fusion_content") + 0.2, "the model fitted without it"
    assert skill(folds, "score") > skill(folds, "score_context"), "what is danced counts beside"


def test_the_score_is_the_sum_of_the_parts_with_the_contexts_named(workspace: str) -> None:
    run = Run(workspace, "runs/one")
    for table in (run.read_table(FOLDS), run.read_table("scores.parquet")):
        parts = table[["score_pose", "score_scene", "score_context"]].astype(float)
        np.testing.assert_allclose(table["score"], parts.sum(axis=1), atol=1e-5)
        assert "attention_context" not in table
    folds = run.read_table(FOLDS)
    titles = {predictor.column: predictor.title for predictor in predictors_in(folds)}
    assert titles["score"] == "VDV, all modalities, with the context"
    assert titles["score_context"] == "the context's part, not of the content"
    joint = json.loads(Path(workspace, "runs/one/run.json").read_text())["joint"]
    assert joint["variance"]["context_statistics"] + joint["variance"]["context_curves"] > 0.1
    assert "context" not in joint["slope"]


def test_the_score_of_one_modality_fewer_keeps_the_context(workspace: str) -> None:
    folds = Run(workspace, "runs/one").read_table(FOLDS)
    np.testing.assert_allclose(folds["fusion_without_scene"], folds["score_pose"] + folds["score_context"], atol=1e-4)
    assert skill(folds, "fusion_statistics") > skill(folds, "fusion_content") + 0.2
    assert abs(skill(folds, "fusion_networks")) < 0.6


def test_recommendations_leave_the_context_out(workspace: str) -> None:
    run = Run(workspace, "runs/one")
    candidates = read_candidates(run, RecommendOptions())
    assert set(candidates.percentile) == {"fused", "pose", "scene"}
    folds, scores = run.read_table(FOLDS).set_index("clip_id"), run.read_table("scores.parquet").set_index("clip_id")
    content = scores["score"] - scores["score_context"]
    seen = scores["split"] == "train"
    content[seen] = (folds["score"] - folds["score_context"])[content.index[seen]]
    expected = percentile_within(content, scores["challenge"])
    np.testing.assert_allclose(candidates.percentile["fused"], expected[candidates.clips["clip_id"]])


def test_the_page_names_the_context_and_shows_the_content_apart(workspace: str) -> None:
    dataset, run = DatasetFolder(workspace, "datasets/one"), Run(workspace, "runs/one")
    evaluate_run(dataset, run)
    payload, _ = build(dataset, run, read_run_contents(dataset, run), CPU, "none", 0, Sources())
    assert payload["about"]["context"]
    assert "context" in {warning["id"] for warning in payload["quality"]["warnings"]}
    assert payload["modalities"] == ["pose", "scene"]
    scores, folds = run.read_table("scores.parquet"), run.read_table(FOLDS).set_index("clip_id")
    context = percentile_within(scores["score_context"], scores["challenge"])
    np.testing.assert_allclose(payload["clips"]["context"], context, atol=1e-3)
    content = percentile_within(folds["score"] - folds["score_context"], folds["challenge"])
    np.testing.assert_allclose(payload["clips"]["content"], content[payload["clips"]["id"]], atol=1e-3)


def test_an_upload_has_the_record_of_its_creators_clips_in_the_runs_dataset(workspace: str) -> None:
    clips = DatasetFolder(workspace, "uploads/one").read_clips().set_index("clip_id")
    known = DatasetFolder(workspace, "datasets/one").read_clips()
    table = DatasetFolder(workspace, "uploads/one").read_table("scores.parquet").set_index("clip_id")
    for clip in NEW:
        likes = known.loc[known["creator_id"] == clip.creator, "likes"].astype(float)
        assert clips.loc[clip.clip_id, "earlier_clips"] == 6
        assert clips.loc[clip.clip_id, "earlier_likes"] == pytest.approx(np.log1p(likes).mean())
    most, least = (table.loc[clip.clip_id] for clip in NEW)
    assert most["score_context"] > least["score_context"] + 1
    assert most["score"] == pytest.approx(most["score_pose"] + most["score_scene"] + most["score_context"], abs=1e-5)


def test_a_label_that_is_adjusted_for_the_context_is_refused(workspace: str) -> None:
    dataset = DatasetFolder(workspace, "datasets/two")
    files = make_batch(Path(workspace), [replace(clip, followers=9) for clip in famous_creators()], name="adjusted",
                       modalities=("pose", "scene"))  # fmt: skip
    assemble(dataset, [files], LabelOptions("adjusted"))
    with pytest.raises(DataError, match="takes out what the context puts in"):
        train_fusion(dataset, Run(workspace, "runs/two"), WITH, CPU)
