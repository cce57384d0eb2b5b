"""From a dataset to scores and metrics: learns what can be learned, the same each time, and says when nothing can."""

import json
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from models.virality.config import VdvConfig
from pipeline.core.errors import DataError, WorkspaceError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.dataset.loading import ClipDataset
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.runs.run import Run
from pipeline.runs.train import data_fingerprint, load_run, train_fusion
from pipeline.scoring.scores import score_clips
from pipeline.training import fit as fitting
from pipeline.training.encoder_training import _Training
from pipeline.training.fit import fit
from tests.support.learnable_world import Clip, make_batch, speed_decides
from tests.support.whole_files import write_json

CPU = torch.device("cpu")
SMALL = VdvConfig(
    frames=32, samplings=2, joint_channels=24, part_channels=32, body_channels=48, refined_channels=24, blocks=1,
    width=32, epochs=6, inner_folds=2, learning_rate=4e-3, pose_rate=4e-3, seed=1,
)  # fmt: skip
ONE_EPOCH = replace(SMALL, epochs=1, frames=16)


def build(workspace: Path, clips: list[Clip], config: VdvConfig, run: str = "runs/one", **options: Any) -> pd.DataFrame:
    modalities = options.pop("modalities", ("pose", "scene"))
    if not (workspace / "datasets/one").exists():
        files = make_batch(workspace, clips, modalities=modalities, **options)
        assemble(DatasetFolder(str(workspace), "datasets/one"), [files], LabelOptions(holdout=0.4))
    train_fusion(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), run), config, CPU)
    score_clips(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), run), CPU)
    return pd.read_parquet(workspace / run / "scores.parquet").set_index("clip_id")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 40 clips (24 to train on) whose dancer's speed decides the likes, seed 1; scenes are noise."""
    workspace = tmp_path_factory.mktemp("learned") / "ws"
    clips = [*speed_decides(40, seed=1), Clip("later", speed=0.5), Clip("broken", likes=5, fails="corrupt")]
    build(workspace, clips, SMALL)
    evaluate_run(DatasetFolder(str(workspace), "datasets/one"), Run(str(workspace), "runs/one"))
    return workspace


def test_a_planted_signal_is_learned_and_holds_on_creators_not_seen(learned: Path) -> None:
    test = json.loads((learned / "runs/one/metrics.json").read_text())["splits"]["test"]
    assert test["clips"] == 16
    pose, fused = (test["predictors"][name]["mean"]["spearman"] for name in ("pose", "fused"))
    assert pose > 0.7
    assert fused > pose - 0.1, "a modality of noise, learned by heart, costs next to nothing"
    assert abs(test["predictors"]["scene"]["mean"]["spearman"]) < 0.6
    assert test["predictors"]["chance"]["mean"] == {
        "spearman": 0.0, "kendall_tau_b": 0.0, "pairwise_accuracy": 0.5, "note": "expectation",
    }  # fmt: skip


def test_clips_without_likes_are_scored_and_clips_without_anything_abstained_on(learned: Path) -> None:
    scores = pd.read_parquet(learned / "runs/one/scores.parquet").set_index("clip_id")
    assert len(scores) == 42
    assert scores.loc["later", "split"] == "unlabelled"
    assert np.isfinite(scores.loc["later", "score"])
    assert bool(scores.loc["broken", "abstained"])
    assert scores.loc["broken", ["score", "percentile", "score_pose", "score_scene"]].isna().all()
    assert scores.loc["broken", ["attention_pose", "attention_scene"]].tolist() == [0, 0]
    scored = scores.drop("broken")
    assert not scored["abstained"].any()
    np.testing.assert_allclose(scored["attention_pose"] + scored["attention_scene"], 1, atol=1e-6)
    for _, group in scored.groupby("challenge"):
        assert (group["score"].rank() == group["percentile"].rank()).all()
        assert group["percentile"].between(0, 1, inclusive="neither").all()


def test_a_run_records_what_made_it_and_nothing_of_where(learned: Path) -> None:
    run = json.loads((learned / "runs/one/run.json").read_text())
    assert run["seed"] == 1
    assert run["dataset"] == "one"
    assert run["trained_on"] == 24
    assert run["config"]["modalities"] == ["pose", "scene"]
    assert run["untrained"] == []
    assert set(run["final_loss"]) == {"pose", "scene"}
    assert run["epochs"] == {"pose": 6, "scene": 6}
    assert run["fusion"]["held_out"] == 24
    assert run["fusion"]["reliability"]["pose"] > 0.8
    assert all(value >= 0 for value in run["fusion"]["steepness"].values())
    assert run["data"]["clips"] == 42
    assert run["data"]["challenges"] == ["shuffle", "wave"]
    assert run["data"]["features"] == {"pose": "0000", "scene": "0000"}
    assert run["interval_level"] == 0.8
    assert run["seconds"] > 0
    assert datetime.fromisoformat(run["finished_at"]).tzinfo is not None
    assert set(run["code"]) == {"version", "commit", "dirty"}
    assert run["environment"]["packages"]["torch"] == version("torch")
    assert str(learned) not in json.dumps(run)
    logs = [path.name for path in (learned / "runs/one/logs").rglob("*") if path.is_file()]
    assert "metrics.csv" in logs
    assert any(name.startswith("events.out.tfevents") for name in logs)


def test_the_data_fingerprint_is_of_clips_labels_and_split_in_any_order(learned: Path) -> None:
    clips = DatasetFolder(str(learned), "datasets/one").read_clips()
    first = data_fingerprint(clips)
    assert json.loads((learned / "runs/one/run.json").read_text())["data"]["fingerprint"] == first
    assert data_fingerprint(clips.iloc[::-1]) == first
    for column, value in (("label", 3.0), ("split", "val"), ("content_hash", "other"), ("challenge", "spin")):
        changed = clips.copy()
        changed.loc[5, column] = value
        assert data_fingerprint(changed) != first
    assert data_fingerprint(clips.iloc[:-1]) != first


def test_metrics_say_how_often_intervals_hold(learned: Path) -> None:
    coverage = json.loads((learned / "runs/one/metrics.json").read_text())["coverage"]
    assert coverage["from"] == "held_out"
    assert (coverage["level"], coverage["clips"], coverage["creators"]) == (0.8, 24, 24)
    assert coverage["share_95"][0] < coverage["share"] <= coverage["share_95"][1]


def test_without_backfitting_a_modality_is_learned_the_same_whatever_other_modalities_there_are(
    learned: Path, tmp_path: Path
) -> None:
    once = replace(ONE_EPOCH, rounds=0)
    both = fit(ClipDataset(DatasetFolder(str(learned), "datasets/one"), once, training=True), once, CPU).model
    alone = replace(once, modalities=("scene",))
    scene = fit(ClipDataset(DatasetFolder(str(learned), "datasets/one"), alone, training=True), alone, CPU).model
    weights = both.encoders["scene"].state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in scene.encoders["scene"].state_dict().items())


def test_the_fusion_learns_from_encoders_that_did_not_see_the_clip(
    learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(ONE_EPOCH, inner_folds=3)
    dataset = ClipDataset(DatasetFolder(str(learned), "datasets/one"), config, training=True)
    creators = dataset.clips["creator_id"]
    trained: list[tuple[str, set[str]]] = []
    targets = {}
    judged: list[set[str]] = []
    train, score = fitting.fit_encoder, fitting._score

    def watched_training(dataset: Any, target: Any, rows: Any, *args: Any, **options: Any) -> Any:
        trained.append((target.modality, set(creators.iloc[rows])))
        targets[target.modality] = target
        return train(dataset, target, rows, *args, **options)

    def watched_scoring(dataset: Any, rows: Any, *args: Any) -> Any:
        judged.append(set(creators.iloc[rows]))
        return score(dataset, rows, *args)

    monkeypatch.setattr(fitting, "fit_encoder", watched_training)
    monkeypatch.setattr(fitting, "_score", watched_scoring)
    fitted = fit(dataset, config, CPU)
    everybody = set(creators.iloc[fitted.rows])
    assert [len(names) for names in judged] == [8, 8, 8]
    assert set.union(*judged) == everybody
    for fold, held in enumerate(judged):
        assert trained[2 * fold : 2 * fold + 2] == [("pose", everybody - held), ("scene", everybody - held)]
    assert trained[6:] == [("pose", everybody), ("scene", everybody)]

    # Speed decides the likes: the scene leaves all of the label to the pose, the pose little to it; nor does a ridge.
    label = dataset.clips["percentile"].to_numpy()[fitted.rows]
    pose, scene = (targets[modality] for modality in ("pose", "scene"))
    goes = {target.modality: spearmanr(target.percentile[fitted.rows], label).statistic for target in (pose, scene)}
    assert goes["pose"] > goes["scene"] + 0.2
    assert spearmanr(pose.residual_percentile[fitted.rows], label).statistic < goes["pose"] - 0.2


def test_the_clips_of_a_single_creator_still_train(tmp_path: Path) -> None:
    clips = [Clip(f"c{n}", creator="ann", likes=10 * n, speed=n / 4) for n in range(1, 7)]
    scores = build(tmp_path / "ws", clips, ONE_EPOCH)
    assert scores["score"].notna().all()
    run = json.loads((tmp_path / "ws/runs/one/run.json").read_text())
    nothing = {"pose": 0.0, "scene": 0.0}
    assert run["fusion"] == {"held_out": 0, "reliability": {"pose": 0.5, "scene": 0.5}, "steepness": nothing}


def test_a_modality_that_only_a_few_clips_have_trains(tmp_path: Path) -> None:
    clips = [replace(clip, nobody=place > 1) for place, clip in enumerate(speed_decides(12))]
    scores = build(tmp_path / "ws", clips, ONE_EPOCH)
    assert scores["score"].notna().all()
    assert scores["score_pose"].notna().sum() == 2


def test_the_same_seed_gives_the_same_scores_and_another_others(tmp_path: Path) -> None:
    clips = speed_decides(12)
    first, again = (build(tmp_path / "ws", clips, ONE_EPOCH, run)["score"] for run in ("runs/a", "runs/b"))
    other = build(tmp_path / "ws", clips, replace(ONE_EPOCH, seed=2), "runs/c")["score"]
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_four_labelled_clips_in_two_challenges_are_enough(tmp_path: Path) -> None:
    clips = [Clip(f"c{place}", f"challenge{place % 2}", likes=place * 10, followers=place + 1) for place in range(4)]
    scores = build(tmp_path / "ws", clips, ONE_EPOCH)
    assert scores["score"].notna().all()
    evaluate_run(DatasetFolder(str(tmp_path / "ws"), "datasets/one"), Run(str(tmp_path / "ws"), "runs/one"))
    metrics = json.loads((tmp_path / "ws/runs/one/metrics.json").read_text())
    test = metrics["splits"]["test"]["predictors"]["fused"]
    assert test["mean"]["spearman"] is None
    assert "no challenge" in test["mean"]["reason"]
    train = metrics["splits"]["train"]["predictors"]
    assert set(train) == {"fused", "pose", "scene", "followers", "chance"}
    assert train["followers"]["mean"]["spearman"] == pytest.approx(1)


def test_clips_without_labels_change_nothing_that_is_learned(tmp_path: Path) -> None:
    labelled = speed_decides(8)
    more = [*labelled, Clip("later", speed=3), Clip("latest", "elsewhere")]
    fewer, all_of_them = build(tmp_path / "a", labelled, ONE_EPOCH), build(tmp_path / "b", more, ONE_EPOCH)
    np.testing.assert_allclose(fewer["score"], all_of_them.loc[fewer.index, "score"], atol=1e-5)


@pytest.mark.parametrize(
    "clips",
    [
        [Clip("a"), Clip("b")],
        [Clip("a", likes=5), Clip("b", likes=5)],
        [Clip("a", "one", likes=1), Clip("b", "two", likes=5)],
        [Clip("a", likes=1, fails="corrupt"), Clip("b", likes=5)],
    ],
    ids=["no likes", "equal likes", "one a challenge", "one decodes"],
)
def test_nothing_to_learn_is_an_error_that_says_what_to_add(tmp_path: Path, clips: list[Clip]) -> None:
    with pytest.raises(DataError, match="Add likes to the manifest"):
        build(tmp_path / "ws", clips, ONE_EPOCH)
    assert not (tmp_path / "ws/runs/one/run.json").exists()


def test_untrained_extractors_are_said_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path / "ws", speed_decides(8), ONE_EPOCH, weights="untrained:0")
    assert "UNTRAINED WEIGHTS" in caplog.text
    assert json.loads((tmp_path / "ws/runs/one/run.json").read_text())["untrained"] == ["pose", "scene"]


def test_a_run_scores_a_dataset_that_lacks_a_modality_and_refuses_another_width(tmp_path: Path, learned: Path) -> None:
    files = make_batch(tmp_path / "ws", speed_decides(3), modalities=("pose",))
    assemble(DatasetFolder(str(tmp_path / "ws"), "datasets/new"), [files])
    run = tmp_path / "ws/runs/one"
    run.mkdir(parents=True)
    for name in ("model.safetensors", "held_out.parquet", "run.json"):
        (run / name).write_bytes((learned / "runs/one" / name).read_bytes())
    score_clips(DatasetFolder(str(tmp_path / "ws"), "datasets/new"), Run(str(tmp_path / "ws"), "runs/one"), CPU)
    scores = pd.read_parquet(run / "scores.parquet")
    assert scores["score"].notna().all()
    assert scores["score_scene"].isna().all()
    assert (scores["attention_pose"] == 1).all()

    statistics = tmp_path / "ws/datasets/new/statistics.json"
    content = json.loads(statistics.read_text())
    write_json(statistics, content | {"modalities": {"pose": 3, "scene": 3}, "features": {"scene": 9}})
    with pytest.raises(DataError, match=r"scene features 374 wide.*trained on 381"):
        score_clips(DatasetFolder(str(tmp_path / "ws"), "datasets/new"), Run(str(tmp_path / "ws"), "runs/one"), CPU)

    run_json = json.loads((run / "run.json").read_text())
    run_json["features"]["scene"]["width"] = 7
    write_json(run / "run.json", run_json)
    with pytest.raises(WorkspaceError, match="does not fit"):
        load_run(Run(str(tmp_path / "ws"), "runs/one"), CPU)


def test_with_patience_an_encoder_is_that_of_its_best_epoch_and_the_final_one_trains_as_long(
    learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenes are noise: on clips unseen, what is learned of them soon does harm."""
    config = replace(SMALL, modalities=("scene",), patience=2, epochs=30, batch_clips=8, inner_folds=3, ridge=False)
    dataset = ClipDataset(DatasetFolder(str(learned), "datasets/one"), config, training=True)
    losses: list[list[float]] = []
    encoders = []
    whole, train = _Training._held_out_loss, fitting.fit_encoder

    def watched_loss(training: Any, judged: Any) -> Any:
        if not training.epochs_done - 1:
            losses.append([])
        losses[-1].append(whole(training, judged))
        encoders.append((training, judged))
        return losses[-1][-1]

    best: list[int] = []

    def watched_training(*arguments: Any, **options: Any) -> Any:
        fitted = train(*arguments, **options)
        best.append(fitted.epochs)
        if options.get("unseen") is not None:
            training, _ = encoders[-1]
            assert whole(training, fitted.encoder) == min(losses[-1])
        return fitted

    monkeypatch.setattr(_Training, "_held_out_loss", watched_loss)
    monkeypatch.setattr(fitting, "fit_encoder", watched_training)
    fitted = fit(dataset, config, CPU)
    assert best[:3] == [1 + int(np.argmin(fold)) for fold in losses]
    assert [len(fold) for fold in losses] == [min(30, epochs + 2) for epochs in best[:3]]
    assert min(len(fold) for fold in losses) < 30
    assert fitted.epochs == {"scene": best[3]} == {"scene": round(np.mean(best[:3]))}


def test_options_of_training_that_make_no_sense_are_refused() -> None:
    options: list[dict[str, Any]] = [{"patience": -1}, {"rounds": -1}, {"ridge_folds": 1}, {"inner_folds": 1}]
    for wrong in options:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(SMALL, **wrong)
