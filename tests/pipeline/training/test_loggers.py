"""Logging of trainings to MLflow and Weights & Biases: what arrives there, and that nothing depends on it."""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.errors import OptionError
from pipeline.dataset.folder import DatasetFolder
from pipeline.evaluation.evaluate import evaluate_run
from pipeline.files.tensors import read_tensors
from pipeline.runs.run import MODEL, RUN, Run
from pipeline.runs.train import train_fusion
from pipeline.scoring.scores import score_clips
from pipeline.training.loggers import Tracker, flat_metrics, parse_trackers
from tests.pipeline.runs.test_train import CPU, ONE_EPOCH
from tests.support.made_once import Workspaces
from tests.support.small_run import make_run

SCENE = replace(ONE_EPOCH, modalities=("scene",), epochs=2, batch_clips=4)
NOBODY = "http://127.0.0.1:9"  # the discard port, where nobody listens


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    """With the dataset of the small run; runs/plain is trained on its scenes without a logger."""
    workspace = workspaces.copy(make_run)
    train(workspace, "plain")
    return workspace


def train(workspace: Path, run: str, *trackers: Tracker) -> Run:
    folder = Run(str(workspace), f"runs/{run}")
    train_fusion(DatasetFolder(str(workspace), "datasets/one"), folder, SCENE, CPU, trackers=trackers)
    return folder


@pytest.fixture(scope="module")
def logged(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that MLflow's database and the files of Weights & Biases are in, after runs/logged was trained and
    judged.
    """
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_DIR", str(folder))
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        trackers = (Tracker("mlflow", f"sqlite:///{folder}/mlflow.db"), Tracker("wandb", "dances"))
        run = train(workspace, "logged", *trackers, Tracker("mlflow", NOBODY))
        score_clips(DatasetFolder(str(workspace), "datasets/one"), run, CPU)
        evaluate_run(DatasetFolder(str(workspace), "datasets/one"), run, trackers[:1])
    return folder


def test_a_logger_changes_neither_the_model_nor_what_the_run_says_of_itself(workspace: Path, logged: Path) -> None:
    plain, told = (Run(str(workspace), f"runs/{name}") for name in ("plain", "logged"))
    (one, _), (other, _) = (read_tensors(run.file(MODEL)) for run in (plain, told))
    assert one.keys() == other.keys()
    assert all(bool((one[name] == other[name]).all()) for name in one)
    about, described = plain.read_json(RUN), told.read_json(RUN)
    changing = {"seconds", "finished_at", "code"}
    assert {k: v for k, v in about.items() if k not in changing} == {
        k: v for k, v in described.items() if k not in changing
    }


def test_mlflow_holds_options_every_step_every_epoch_and_the_evaluation_in_one_run(
    workspace: Path, logged: Path
) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{logged}/mlflow.db")
    experiment = client.get_experiment_by_name("vdv")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["vdv.run"] == run.info.run_name == "logged"
    assert (run.data.params["seed"], run.data.params["dataset"]) == ("1", "one")
    steps = client.get_metric_history(run.info.run_id, "loss/scene")
    assert len(client.get_metric_history(run.info.run_id, "epoch_loss/scene")) == SCENE.epochs
    assert len(steps) > SCENE.epochs
    assert steps[-1].value == pytest.approx(Run(str(workspace), "runs/logged").read_json(RUN)["final_loss"]["scene"])
    expected = flat_metrics(Run(str(workspace), "runs/logged").read_json("metrics.json"))
    assert len(expected) > 5
    assert {name: run.data.metrics[name] for name in expected} == pytest.approx(expected)
    assert run.info.status == "FINISHED"


def test_weights_and_biases_keeps_the_training_offline(logged: Path) -> None:
    (record,) = logged.glob("wandb/offline-run-*/run-logged.wandb")
    data = record.read_bytes()
    assert b"loss/scene" in data
    assert b"epoch_loss/scene" in data


def test_a_server_that_is_down_costs_one_warning(
    workspace: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING, "pipeline.training"):
        train(workspace, "unheard", Tracker("mlflow", NOBODY))
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("pipeline.training")]
    assert warning.startswith(f"mlflow:{NOBODY} does not take the training's log (")
    assert Run(str(workspace), "runs/unheard").has(RUN)


@pytest.mark.parametrize("given", ["tensorboard", "mlflow", "mlflow:", "neptune:dances", ":x"])
def test_a_logger_that_there_is_not_is_refused_with_those_that_there_are(given: str) -> None:
    with pytest.raises(OptionError, match=rf"--logger is {given}; it takes mlflow:URI.*wandb:PROJECT"):
        parse_trackers([given])


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(OptionError, match=r"this needs wandb, not installed here: pip install wandb \(in vdv"):
        parse_trackers(["wandb:dances"])


def test_several_loggers_may_be_given() -> None:
    assert parse_trackers(["mlflow:file:runs, of mine", "wandb:dances"]) == (
        Tracker("mlflow", "file:runs, of mine"), Tracker("wandb", "dances"),
    )  # fmt: skip


def test_only_numbers_of_the_metrics_are_told() -> None:
    means = {"spearman": 0.5, "note": "expectation", "spearman_95": [0.1, 0.9], "kendall_tau_b": None}
    metrics = {"splits": {"test": {"clips": 3, "predictors": {"fused": {"mean": means}}}}, "folds": json.loads("null")}
    assert flat_metrics(metrics) == {"test/fused/spearman": 0.5}
