"""Training of a run: from a dataset to a trained model and its files.

runs/<id>/model.safetensors    the weights
runs/<id>/held_out.parquet     scores of the training clips by the joint model without their creators
runs/<id>/logs/                of the encoders' training
runs/<id>/checkpoints/         of a training in progress (pipeline.training.checkpoints); deleted at its end
runs/<id>/run.json             data, options, code and machine; written last, so where it exists, all files do
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch

from models.virality.config import CONTEXT, VdvConfig
from models.virality.inputs import InputSpec
from models.virality.vdv import Vdv
from pipeline.core import storage
from pipeline.core.environment import code_version, environment
from pipeline.core.errors import DataError, WorkspaceError
from pipeline.core.fingerprint import fingerprint
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ClipDataset
from pipeline.files.tensors import read_tensors, write_tensors
from pipeline.runs.run import HELD_OUT, INTERVAL_LEVEL, MODEL, RUN, RUN_SCHEMA, WITH_ADJUSTED, Run
from pipeline.training.checkpoints import CHECKPOINTS, clear
from pipeline.training.fit import Fitted, fit
from pipeline.training.loggers import Tracker, tracked

log = logging.getLogger(__name__)


def train_fusion(
    dataset_folder: DatasetFolder,
    run_folder: Run,
    config: VdvConfig,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda *_: None,
    trackers: Sequence[Tracker] = (),
) -> None:
    """Train on the dataset's training clips (see pipeline.training.fit) and write the run.

    Killed and called again, it resumes after the last whole epoch, to the same weights bit for bit on a CPU.

    Args:
        progress: called with encoders trained and encoders in all.
        trackers: services that the training is logged to; they decide nothing of the result.

    Raises:
        DataError: there is nothing to learn from; the message says what to add. Or the context is asked for, and the
            label is adjusted for it.
    """
    dataset = ClipDataset(dataset_folder, config, training=True)
    statistics = dataset_folder.read_statistics()
    warn_if_untrained(statistics)
    if config.context and statistics["label"]["kind"] == "adjusted":
        raise DataError(WITH_ADJUSTED)
    start = time.perf_counter()
    folder = run_folder.path
    with storage.temporary_folder() as temporary, tracked(trackers, run_folder.id) as loggers:
        for logger in loggers:
            logger.log_hyperparams({**asdict(config), "dataset": dataset_folder.id, "clips": len(dataset.clips)})
        local = storage.local_path(folder) if storage.is_local(folder) else temporary
        fitted = fit(dataset, config, device, str(local), run_folder.file(CHECKPOINTS), progress, loggers)
        if local == temporary:
            _upload(temporary, folder)
    write_tensors(run_folder.file(MODEL), fitted.model.state_dict())
    run_folder.write_table(HELD_OUT, _held_out(dataset, fitted))
    run = _describe(dataset, dataset_folder.id, statistics, fitted, device) | {
        "seconds": round(time.perf_counter() - start, 1),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run_folder.write_json(RUN, run)
    clear(run_folder.file(CHECKPOINTS))


def _describe(dataset: ClipDataset, dataset_id: str, statistics: Mapping, fitted: Fitted, device: torch.device) -> dict:
    """Content of run.json, without the training's duration and end."""
    clips, model = dataset.clips, fitted.model
    return {
        "schema": RUN_SCHEMA,
        "dataset": dataset_id,
        "data": {
            "clips": len(clips),
            "challenges": sorted(clips["challenge"].iloc[fitted.clips.row].unique()),  # trained on
            "fingerprint": data_fingerprint(clips),
            "features": _feature_fingerprints(clips, statistics["modalities"]),
        },
        "config": asdict(model.config),
        "features": {name: asdict(spec) for name, spec in dataset.inputs.items()},
        "seed": model.config.seed,
        "trained_on": len(fitted.clips.row),
        "final_loss": fitted.loss,
        "joint": _describe_joint(fitted),
        "label": statistics["label"],
        "interval_level": INTERVAL_LEVEL,
        "profiles": statistics["profiles"],
        "untrained": statistics["untrained"],
        "code": code_version(),
        "environment": environment(device),
    }


def data_fingerprint(clips: pd.DataFrame) -> str:
    """Fingerprint, 16 hex, of the clips with their challenge, content, split and label, in any order."""
    labels = [None if pd.isna(label) else float(label) for label in clips["label"]]
    columns = (clips[name].astype(str) for name in ("clip_id", "challenge", "content_hash", "split"))
    return fingerprint(sorted(zip(*columns, labels, strict=True)))


def _feature_fingerprints(clips: pd.DataFrame, modalities: Iterable[str]) -> dict[str, str | None]:
    """Fingerprint of each modality's features, a part of their path (pipeline.features.plan); None: no features."""
    paths = {modality: clips[f"shard_{modality}"].dropna() for modality in modalities}
    return {modality: shards.iloc[0].split("/")[2] if len(shards) else None for modality, shards in paths.items()}


def _held_out(dataset: ClipDataset, fitted: Fitted) -> pd.DataFrame:
    """Scores of the training clips by models that did not see their creators, as intervals.calibrate takes them."""
    table = dataset.clips[["clip_id", "challenge", "percentile"]].iloc[fitted.clips.row]
    table.insert(2, "group", fitted.clips.group)
    table["score"] = fitted.joint.held_out
    return table


def _describe_joint(fitted: Fitted) -> dict:
    """Shares of the label's variance within a challenge as the joint model estimates them, and its slopes."""
    joint = fitted.joint
    variances = {f"{modality}_{kind}": variance for (modality, kind), variance in joint.variances.items()}
    variances |= {"creator": joint.creator, "noise": joint.noise}
    total = sum(variances.values())
    return {
        "variance": {name: round(variance / total, 4) for name, variance in variances.items()},
        "slope": {modality: round(slope, 4) for modality, slope in joint.slopes.items() if modality != CONTEXT},
    }


def load_run(run_folder: Run, device: torch.device) -> tuple[Vdv, dict]:
    """Load the trained model, ready to score, and its run.json.

    Raises:
        WorkspaceError: the run is of another schema or damaged, or its files do not belong together.
    """
    run = run_folder.about
    model = Vdv(VdvConfig.from_dict(run["config"]), {name: InputSpec(**spec) for name, spec in run["features"].items()})
    weights, _ = read_tensors(run_folder.file(MODEL))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise WorkspaceError(f"{run_folder.file(MODEL)} does not fit its {RUN}: {error}") from error
    return model.to(device).eval(), run


def warn_if_untrained(statistics: Mapping) -> None:
    """Log a warning that scores mean nothing where extractors had random weights."""
    if statistics["untrained"]:
        log.warning(
            f"UNTRAINED WEIGHTS: {', '.join(statistics['untrained'])} features come from networks with random weights."
            " The scores and metrics of this run mean nothing; use --profile full for real ones"
        )


def _upload(logs: Path, folder: str) -> None:
    for path in sorted(logs.rglob("*")):
        if path.is_file():
            storage.write_bytes(storage.join(folder, path.relative_to(logs).as_posix()), path.read_bytes())
