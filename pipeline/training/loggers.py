"""Logging of a training to MLflow or Weights & Biases, beside TensorBoard and CSV; it decides nothing of the result.

One tracking run a run: a training that was killed and goes on, and the evaluation afterwards, log to the same one. A
server that does not answer costs a warning. Lightning and the services' packages are imported when they are needed.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.core.environment import require_packages
from pipeline.core.errors import OptionError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)

MLFLOW, WANDB = "mlflow", "wandb"
RUN_TAG = "vdv.run"  # by which MLflow finds the tracking run of a run again
EXPERIMENT = "vdv"
_INIT_S = 30  # that a server of Weights & Biases may take to answer at first
# Of MLflow's client, for whom nothing else is set: its own are 7 retries with longer and longer waits, and 120 s.
_MLFLOW_ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@dataclass(frozen=True)
class Tracker:
    """A service that trainings are logged to."""

    kind: str
    place: str  # MLflow's tracking URI, or the project of Weights & Biases

    @property
    def title(self) -> str:
        return f"{self.kind}:{self.place}"


def parse_trackers(options: Sequence[str]) -> tuple[Tracker, ...]:
    """The services that `--logger` names.

    Raises:
        OptionError: no such service, or its package is not installed.
    """
    trackers = []
    for option in options:
        kind, _, place = option.partition(":")
        if kind not in (MLFLOW, WANDB) or not place:
            raise OptionError(
                f"--logger is {option}; it takes mlflow:URI, as in mlflow:sqlite:///mlflow.db, or wandb:PROJECT."
                " TensorBoard's logs are always written, to the run's folder"
            )
        require_packages(kind, *(("mlflow",) if kind == MLFLOW else ("wandb",)))
        trackers.append(Tracker(kind, place))
    return tuple(trackers)


@contextmanager
def tracked(trackers: Sequence[Tracker], run_id: str) -> "Iterator[list[Logger]]":
    """Lightning's loggers for a run, one a service; at the end they have sent what they were given."""
    from pipeline.training.guarded_logger import GuardedLogger

    loggers = [GuardedLogger(tracker.title, _builder(tracker, run_id)) for tracker in trackers]
    status = "failed"
    try:
        yield [*loggers]
        status = "success"
    finally:
        for logger in loggers:
            logger.close(status)


def flat_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Means over challenges of metrics.json as `test/fused/spearman`; of the folds as `folds/fused/spearman`."""
    sections = {**metrics["splits"], "folds": metrics.get("folds") or {}}
    return {
        f"{section}/{predictor}/{name}": float(value)
        for section, content in sections.items()
        for predictor, of_predictor in content.get("predictors", {}).items()
        for name, value in of_predictor["mean"].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _builder(tracker: Tracker, run_id: str) -> "Callable[[], Logger]":
    def build() -> "Logger":
        return _mlflow(tracker.place, run_id) if tracker.kind == MLFLOW else _wandb(tracker.place, run_id)

    return build


def _mlflow(uri: str, run_id: str) -> "Logger":
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow.tracking import MlflowClient

    for name, value in _MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "://" not in uri or uri.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # whoever names a folder means it
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    earlier = experiment and client.search_runs(
        [experiment.experiment_id], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1
    )
    known = earlier[0].info.run_id if earlier else None
    return MLFlowLogger(name, run_id, uri, tags={RUN_TAG: run_id}, run_id=known)


def _wandb(project: str, run_id: str) -> "Logger":
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    settings = wandb.Settings(init_timeout=_INIT_S)
    folder = os.environ.get("WANDB_DIR", ".")
    return WandbLogger(run_id, folder, id=run_id, project=project, resume="allow", settings=settings)
