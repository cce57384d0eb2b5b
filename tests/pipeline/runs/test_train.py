"""From a dataset to scores and metrics: learns what can be learned, the same each time, and says when nothing can."""

import json
import shutil
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.virality.config import VdvConfig
from models.virality.vdv import encode
from pipeline.core.errors import DataError, WorkspaceError
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.dataset.loading import ClipDataset
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.modalities.pose import PoseRows
from pipeline.runs.run import Run
from pipeline.runs.train import data_fingerprint, load_run, train_fusion
from pipeline.scoring.scores import score_clips
from pipeline.training import fit as fitting
from pipeline.training.encoder_training import FittedEncoder, fit_encoder
from pipeline.training.fit import fit
from pipeline.training.joint import NETWORK
from tests.support.learnable_world import Clip, dancing, make_batch, speed_decides
from tests.support.whole_files import write_json

CPU = torch.device("cpu")
SMALL = VdvConfig(
    frames=32, samplings=2, joint_channels=24, part_channels=32, body_channels=48, refined_channels=24, blocks=1,
    width=32, epochs=6, ensemble=2, learning_rate=4e-3, pose_rate=4e-3, seed=1,
)  # fmt: skip
ONE_EPOCH = replace(SMALL, epochs=1, frames=16, dilations=(1, 2), relations_after=(2,))


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
    assert set(run["joint"]["variance"]) >= {"pose_statistics", "scene_statistics", "creator", "noise"}
    assert all(value >= 0 for value in run["joint"]["slope"].values())
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


def test_a_network_is_the_same_whatever_other_modalities_there_are(learned: Path) -> None:
    both = fit(ClipDataset(DatasetFolder(str(learned), "datasets/one"), ONE_EPOCH, training=True), ONE_EPOCH, CPU).model
    alone = replace(ONE_EPOCH, modalities=("scene",))
    scene = fit(ClipDataset(DatasetFolder(str(learned), "datasets/one"), alone, training=True), alone, CPU).model
    weights = both.encoders["scene"].state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in scene.encoders["scene"].state_dict().items())


def test_of_few_clips_the_poses_are_passed_more_often_than_scenes_unless_it_is_said_how_often(
    learned: Path, tmp_path: Path
) -> None:
    few = replace(SMALL, frames=8, samplings=1, dilations=(1,), relations_after=(), epochs=None)
    for config, passes in ((few, {"pose": 75, "scene": 9}), (replace(few, epochs=2), {"pose": 2, "scene": 2})):
        dataset = ClipDataset(DatasetFolder(str(learned), "datasets/one"), config, training=True)
        for modality, wanted in passes.items():
            logs = tmp_path / f"{config.epochs}"
            fit_encoder(dataset, modality, np.arange(24), config, CPU, str(logs))
            (metrics,) = logs.rglob(f"{modality}/metrics.csv")
            assert pd.read_csv(metrics)[f"epoch_loss/{modality}"].notna().sum() == wanted  # two batches a pass


def test_the_joint_model_learns_from_networks_that_did_not_see_the_clip(
    learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(ONE_EPOCH, ensemble=3)
    dataset = ClipDataset(DatasetFolder(str(learned), "datasets/one"), config, training=True)
    creators = dataset.clips["creator_id"]
    trained: list[tuple[str, FittedEncoder, set[str]]] = []
    train = fitting.fit_encoder

    def watched(dataset: Any, modality: str, rows: Any, *args: Any, **options: Any) -> Any:
        fitted = train(dataset, modality, rows, *args, **options)
        trained.append((modality, fitted, set(creators.iloc[rows])))
        return fitted

    monkeypatch.setattr(fitting, "fit_encoder", watched)
    fitted = fit(dataset, config, CPU)
    rows = fitted.clips.row
    assert [modality for modality, _, _ in trained] == ["pose", "scene"] * 3
    for place, modality in enumerate(("pose", "scene")):
        part, network = fitted.model.part(modality), fitted.evidence[modality].networks[:, 0]
        unseen = []
        assert list(fitted.model.ensemble(modality)) == [one.encoder for _, one, _ in trained[place::2]]
        for _, of_fold, seen in trained[place::2]:
            held = ~creators.iloc[rows].isin(seen).to_numpy()
            assert held.sum() == 8
            for batch in dataset.view(modality, training=False).in_batches(rows[held].tolist(), 64):
                with torch.inference_mode():
                    score = encode(of_fold.encoder, batch.inputs[modality]).score
                torch.testing.assert_close((score - part.network_mean[0]) / part.network_scale[0], network[held])
            unseen.append(held)
        assert (np.sum(unseen, 0) == 1).all()


@pytest.mark.parametrize(("many", "trainings"), [(24, 2), (25, 3)])
def test_of_many_clips_two_networks_are_trained(
    learned: Path, monkeypatch: pytest.MonkeyPatch, many: int, trainings: int
) -> None:
    monkeypatch.setattr(fitting, "MANY_CLIPS", many)
    config = replace(ONE_EPOCH, ensemble=3, modalities=("scene",))
    trained = []
    train = fitting.fit_encoder

    def watched(dataset: Any, modality: str, rows: Any, *args: Any, **options: Any) -> Any:
        trained.append(len(rows))
        return train(dataset, modality, rows, *args, **options)

    monkeypatch.setattr(fitting, "fit_encoder", watched)
    fit(ClipDataset(DatasetFolder(str(learned), "datasets/one"), config, training=True), config, CPU)
    assert trained == [24 - 24 // trainings] * trainings


def test_of_one_creator_s_clips_one_network_is_trained_and_has_no_say(tmp_path: Path) -> None:
    clips = [replace(clip, creator="zoe") for clip in speed_decides(8)]
    build(tmp_path / "ws", clips, ONE_EPOCH)
    model, _ = load_run(Run(str(tmp_path / "ws"), "runs/one"), CPU)
    for modality in ("pose", "scene"):
        assert len(model.ensemble(modality)) == 1
        assert model.part(modality).network_coefficients[0] == 0


def test_a_run_says_of_what_its_scores_are_made(learned: Path) -> None:
    """Speed decides the likes, as statistics of poses tell; scenes are noise."""
    joint = json.loads((learned / "runs/one/run.json").read_text())["joint"]
    assert sum(joint["variance"].values()) == pytest.approx(1, abs=1e-3)
    pose, scene = (
        sum(share for name, share in joint["variance"].items() if name.startswith(modality))
        for modality in ("pose", "scene")
    )
    assert pose > 2 * scene
    scores = pd.read_parquet(learned / "runs/one/scores.parquet").set_index("clip_id").drop("broken")
    np.testing.assert_allclose(scores["score_pose"] + scores["score_scene"], scores["score"], atol=1e-5)


def test_without_statistics_the_networks_alone_decide(learned: Path) -> None:
    config = replace(ONE_EPOCH, statistics=False)
    fitted = fit(ClipDataset(DatasetFolder(str(learned), "datasets/one"), config, training=True), config, CPU)
    assert {kind for _, kind in fitted.joint.variances} <= {NETWORK}
    assert not any(fitted.model.part(modality).coefficients.any() for modality in ("pose", "scene"))


def test_the_clips_of_a_single_creator_still_train_without_trust_in_the_networks(tmp_path: Path) -> None:
    clips = [Clip(f"c{n}", creator="ann", likes=10 * n, speed=n / 4) for n in range(1, 7)]
    scores = build(tmp_path / "ws", clips, ONE_EPOCH)
    assert scores["score"].notna().all()
    model, run = load_run(Run(str(tmp_path / "ws"), "runs/one"), CPU)
    assert not any(model.part(modality).network_coefficients[0] for modality in model.modalities)
    assert not any(name.endswith(f"_{NETWORK}") for name in run["joint"]["variance"])


def test_pictures_score_within_what_films_score(learned: Path, tmp_path: Path) -> None:
    """A photo, and a film of one picture."""
    still = dancing(Clip("still", speed=0.7))
    (track,) = (track for track in still.tracks if track.is_lead)
    same = replace(track, valid=np.ones_like(track.valid), keypoints=np.repeat(track.keypoints[:1], 40, 0))
    photos = [Clip("photo", frames=1), Clip("still", pose=PoseRows("still", still.grid, (same,)))]
    files = make_batch(tmp_path / "ws", photos, modalities=("pose", "scene"))
    assemble(DatasetFolder(str(tmp_path / "ws"), "datasets/new"), [files])
    shutil.copytree(learned / "runs/one", tmp_path / "ws/runs/one")
    score_clips(DatasetFolder(str(tmp_path / "ws"), "datasets/new"), Run(str(tmp_path / "ws"), "runs/one"), CPU)
    scores = pd.read_parquet(tmp_path / "ws/runs/one/scores.parquet")
    assert scores["score_pose"].notna().all()
    trained = pd.read_parquet(learned / "runs/one/scores.parquet").query("split == 'train'")["score"]
    assert scores["score"].between(trained.min(), trained.max()).all(), scores["score"]
    model, _ = load_run(Run(str(tmp_path / "ws"), "runs/one"), CPU)
    dataset = ClipDataset(DatasetFolder(str(tmp_path / "ws"), "datasets/new"), model.config, training=False)
    (batch,) = dataset.in_batches([0, 1], 2)
    with torch.inference_mode():
        given, part = batch.inputs["pose"], model.part("pose")
        evidence = model.read("pose", given, encode(model.encoders["pose"], given))
        nothing = part.read(torch.full((2, len(part.mean)), torch.nan), torch.zeros(2), given.quality, evidence.present)
    torch.testing.assert_close(evidence.statistics, nothing.statistics, msg="no statistic of motion is known")


@pytest.mark.parametrize("seen", [(0, 1), (0,), (2,)])
def test_a_modality_that_only_a_few_clips_have_trains(tmp_path: Path, seen: tuple[int, ...]) -> None:
    """Of a single clip some network sees nothing; of clip 2 it is the first one, of whose loss the run would tell."""
    clips = [replace(clip, nobody=place not in seen) for place, clip in enumerate(speed_decides(12))]
    scores = build(tmp_path / "ws", clips, ONE_EPOCH)
    assert scores["score"].notna().all()
    assert scores["score_pose"].notna().sum() == len(seen)
    losses = Run(str(tmp_path / "ws"), "runs/one").read_json("run.json")["final_loss"]
    assert np.isfinite([losses["pose"], losses["scene"]]).all()


def test_the_same_seed_gives_the_same_scores_and_another_other_networks(tmp_path: Path) -> None:
    clips = speed_decides(12)
    first, again = (build(tmp_path / "ws", clips, ONE_EPOCH, run)["score"] for run in ("runs/a", "runs/b"))
    build(tmp_path / "ws", clips, replace(ONE_EPOCH, seed=2), "runs/c")
    np.testing.assert_array_equal(first, again)
    one, same, other = (load_run(Run(str(tmp_path / "ws"), f"runs/{name}"), CPU)[0].state_dict() for name in "abc")
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    for modality in ("pose", "scene"):
        names = [name for name in one if name.startswith(f"encoders.{modality}.")]
        assert not all(torch.allclose(one[name], other[name]) for name in names)


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


def test_options_of_training_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="ensemble"):
        replace(SMALL, ensemble=0)
