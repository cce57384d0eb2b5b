"""A dataset to a trained model: `runs/<id>/model.safetensors`, and `run.json`, which is written last."""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from models.config import VdvConfig
from models.vdv import Vdv
from pipeline import storage
from pipeline.dataset import read_statistics
from pipeline.errors import WorkspaceError
from pipeline.fit import LOGS, Fitted, fit
from pipeline.loading import ClipDataset

RUN_SCHEMA = 2
MODEL, RUN = "model.safetensors", "run.json"

log = logging.getLogger(__name__)


def train_fusion(
    workspace: str,
    dataset_dir: str,
    run_dir: str,
    config: VdvConfig,
    device: torch.device,
    workers: int = 0,
) -> None:
    """Trains on the dataset's training clips (see pipeline.fit) and writes the run.

    Args:
        dataset_dir, run_dir: relative to the workspace.
        workers: processes that read clips; 0: this one.

    Raises:
        DataError: there is nothing to learn from; says what to add.
    """
    dataset = ClipDataset(workspace, dataset_dir, config, training=True)
    statistics = read_statistics(workspace, dataset_dir)
    warn_if_untrained(statistics)
    folder = storage.join(workspace, run_dir)
    with tempfile.TemporaryDirectory(prefix="vdv-logs-") as temporary:
        local = str(storage.local_path(folder)) if storage.is_local(folder) else temporary
        shutil.rmtree(Path(local, LOGS), ignore_errors=True)  # of a run that was killed
        fitted = fit(dataset, config, device, local, workers)
        if local == temporary:
            _upload(Path(temporary), folder)
    model = fitted.model
    with storage.staged(storage.join(folder, MODEL)) as path:
        save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, path)
    run = {
        "schema": RUN_SCHEMA,
        "dataset": dataset_dir.rstrip("/").rsplit("/", 1)[-1],
        "config": asdict(model.config),
        "features": dict(dataset.widths),
        "seed": config.seed,
        "device": str(device),
        "trained_on": len(fitted.rows),
        "final_loss": fitted.loss,
        "fusion": _fusion_of(fitted),
        "label": statistics["label"],
        "profiles": statistics["profiles"],
        "untrained": statistics["untrained"],
        "versions": {name: version(name) for name in ("vdv", "torch", "lightning", "numpy")},
    }
    storage.write_bytes(storage.join(folder, RUN), (json.dumps(run, indent=1) + "\n").encode())


def _fusion_of(fitted: Fitted) -> dict:
    """On how many clips held out the fusion was trained, and what it found each cue to be worth there."""
    weights = fitted.model.fusion.reliability
    shares = (weights / weights.sum()).tolist()
    return {
        "held_out": len(fitted.held.score),
        "reliability": {cue: round(share, 4) for cue, share in zip(fitted.model.cues, shares, strict=True)},
    }


def load_run(workspace: str, run_dir: str, device: torch.device) -> tuple[Vdv, dict]:
    """The trained model, ready to score, and its run.json.

    Raises:
        WorkspaceError: the run is of another schema, or its files do not belong together.
    """
    folder = storage.join(workspace, run_dir)
    run = json.loads(storage.read_bytes(storage.join(folder, RUN)))
    if run["schema"] != RUN_SCHEMA:
        raise WorkspaceError(
            f"{folder}/{RUN} is of schema {run['schema']}, this version reads {RUN_SCHEMA}; train anew"
        )
    model = Vdv(VdvConfig.from_dict(run["config"]), run["features"])
    with tempfile.TemporaryDirectory(prefix="vdv-model-") as temporary:
        path = Path(temporary, MODEL)
        path.write_bytes(storage.read_bytes(storage.join(folder, MODEL)))
        try:
            model.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise WorkspaceError(f"{folder}/{MODEL} does not fit its {RUN}: {error}") from error
    return model.to(device).eval(), run


def warn_if_untrained(statistics: Mapping) -> None:
    """Says, where extractors had random weights, that scores mean nothing."""
    if statistics["untrained"]:
        log.warning(untrained_text(statistics["untrained"]))


def untrained_text(modalities: list[str]) -> str:
    return (
        f"UNTRAINED WEIGHTS: {', '.join(modalities)} features come from networks with random weights. The scores and"
        " metrics of this run mean nothing; use --profile full for real ones"
    )


def _upload(logs: Path, folder: str) -> None:
    for path in sorted(logs.rglob("*")):
        if path.is_file():
            storage.write_bytes(storage.join(folder, path.relative_to(logs).as_posix()), path.read_bytes())
