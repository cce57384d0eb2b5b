"""Speed and memory of training an encoder on synthetic features (benchmarks.made_clips). Linux only.

    python -m benchmarks.training                     # about ten minutes on one core; 1.5 GB of temporary files
    python -m benchmarks.training --parts loop networks --clips 512

    loop      clips/s of an epoch through the product's loop (reading, augmentation, batches, Lightning, loss, step)
              over that of bare forward and backward passes of the same network on the same batches, in memory
    networks  forward and backward pass of PSGCN over that of an ST-GCN of as many parameters, on one and two threads
    memory    seconds of an epoch, first and later, and the process's peak memory as clips become more
    whole     seconds of the training of a whole model: all networks of all modalities, and the joint model

Results of other parts stay as an earlier run wrote them. Sides run in turn in one process. Networks run on --threads
threads (1) unless noted.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from torch import nn

from benchmarks.common import save, table
from benchmarks.made_clips import DATASET, make_dataset
from models.virality.baselines import parameter_count
from models.virality.config import VdvConfig
from models.virality.inputs import ModalityInput, to_device
from models.virality.vdv import build_encoder, encode, pose_network
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import TRAIN
from pipeline.dataset.loading import CACHE_BYTES, ChallengeBatches, ClipDataset, Sample
from pipeline.modalities.registry import extracted_names
from pipeline.training.encoder_training import fit_encoder
from pipeline.training.fit import fit
from pipeline.training.lightning_loop import deterministic, quiet

PARTS = ("loop", "networks", "memory", "whole")
WHOLE = 256  # clips of the part whole, besides all of them
LOOP_CLIPS = 256  # of the loop: all of them stay in memory
LOOP_EPOCHS = 3  # a turn; the first is not counted, for it may read clips
STEPS = 2  # of a network, a turn
LIMIT_LOOP, LIMIT_NETWORKS = 0.9, 1.3  # targets


def now_s() -> np.ndarray:
    """Seconds on the wall and of this process's CPU time, on which other processes have less effect; float64 [2]."""
    return np.array([perf_counter(), process_time()])


class Timed(Exception):
    """Raised when all epochs are timed."""


class TimedDataset(ClipDataset):
    """Records the time of each epoch's first batch, and ends the training at that of epoch `last`."""

    def __init__(self, workspace: str, config: VdvConfig):
        super().__init__(DatasetFolder(workspace, DATASET), config, training=True)
        self.last = 0
        self.started: dict[int, np.ndarray] = {}  # `now_s` by epoch; of all views

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Sample]:
        epoch = keys[0][0]
        self.started.setdefault(epoch, now_s())
        if epoch == self.last:
            raise Timed
        return super().__getitems__(keys)


def epochs_s(dataset: TimedDataset, modality: str, rows: np.ndarray, device: torch.device, epochs: int) -> np.ndarray:
    """Seconds (`now_s`) of each epoch of one encoder's training as in pipeline.training.fit, float64 [epochs, 2].

    From the request of one epoch's first batch to that of the next: all that an epoch does is in between.
    """
    dataset.started.clear()
    dataset.last = epochs
    with quiet(), deterministic(), suppress(Timed):
        fit_encoder(dataset, modality, rows, VdvConfig(epochs=epochs + 1), device)
    return np.diff([dataset.started[epoch] for epoch in range(epochs + 1)], axis=0)


def batches_in_memory(
    dataset: ClipDataset, modality: str, rows: np.ndarray, device: torch.device
) -> list[ModalityInput]:
    """Batches of the second epoch."""
    view, config = dataset.view(modality, training=True), VdvConfig()
    names = dataset.clips["challenge"].tolist()
    keys = ChallengeBatches(names, rows.tolist(), config.batch_clips, config.seed, first_epoch=1)
    return [to_device(view.collate(ClipDataset.__getitems__(view, some)).inputs, device)[modality] for some in keys]


def passes(network: nn.Module, batches: Sequence[ModalityInput], device: torch.device) -> None:
    """Runs forward and backward passes of each batch."""
    for batch in batches:
        network.zero_grad()
        encode(network, batch).score.sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_loop(dataset: TimedDataset, device: torch.device, turns: int) -> dict:
    rows = np.arange(min(LOOP_CLIPS, len(dataset)))
    loops, bares = np.zeros((2, len(extracted_names()), turns, 2))  # seconds of an epoch
    for place, modality in enumerate(extracted_names()):
        batches = batches_in_memory(dataset, modality, rows, device)
        bare = build_encoder(VdvConfig(), dataset.inputs[modality]).to(device).train()
        passes(bare, batches[:1], device)
        for turn in range(turns):
            loops[place, turn] = epochs_s(dataset, modality, rows, device, LOOP_EPOCHS)[1:].mean(0)
            start = now_s()
            for _ in range(LOOP_EPOCHS - 1):
                passes(bare, batches, device)
            bares[place, turn] = (now_s() - start) / (LOOP_EPOCHS - 1)
    speeds = {
        modality: _speeds(len(rows), loops[place], bares[place]) for place, modality in enumerate(extracted_names())
    }
    speeds["all"] = _speeds(len(rows), loops.sum(0), bares.sum(0))
    header = ["modality", "loop, clips/s", "bare", "loop / bare", "the same, by CPU time"]
    print(table([[modality, *row.values()] for modality, row in speeds.items()], header))
    print(f"loop / bare of all modalities: at least {LIMIT_LOOP} is to be reached\n")
    return {"clips": len(rows), "turns": turns, "by_modality": speeds}


def _speeds(clips: int, loop: np.ndarray, bare: np.ndarray) -> dict[str, float]:
    """Clips/s and their ratios. loop, bare: seconds [turns, 2] of an epoch."""
    ratio = np.median(bare / loop, 0)
    wall = (round(clips / float(np.median(seconds[:, 0])), 1) for seconds in (loop, bare))
    return dict(
        zip(("loop_clips_s", "bare_clips_s", "ratio", "cpu_ratio"), (*wall, *ratio.round(3).tolist()), strict=True)
    )


def measure_networks(dataset: ClipDataset, device: torch.device, turns: int, threads: Sequence[int]) -> dict:
    config, modality = VdvConfig(), extracted_names()[0]
    (batch, *_) = batches_in_memory(dataset, modality, np.arange(min(LOOP_CLIPS, len(dataset))), device)
    networks = {
        name: pose_network(replace(config, pose_network=name)).to(device).train() for name in ("psgcn", "st_gcn")
    }

    def steps(network: nn.Module) -> Callable[[], None]:
        return lambda: passes(network, [batch] * STEPS, device)

    sides = {name: steps(network) for name, network in networks.items()}
    results, before = {}, torch.get_num_threads()
    for count in threads:
        torch.set_num_threads(count)
        seconds = np.zeros((2 * turns + 2, len(sides), 2))
        for of_turn in seconds:
            for side, run in zip(of_turn, sides.values(), strict=True):
                start = now_s()
                run()
                side[:] = now_s() - start
        seconds = seconds[1:]  # the first warms up
        psgcn, st_gcn = (1e3 * np.median(seconds[:, :, 0], 0) / STEPS).round(1).tolist()
        ratio, cpu_ratio = np.median(seconds[:, 0] / seconds[:, 1], 0).round(3).tolist()
        results[str(count)] = {"psgcn": psgcn, "st_gcn": st_gcn, "ratio": ratio, "cpu_ratio": cpu_ratio}
    torch.set_num_threads(before)
    header = ["threads", "PSGCN, ms a batch", "ST-GCN", "PSGCN / ST-GCN", "the same, by CPU time"]
    print(table([[count, *row.values()] for count, row in results.items()], header))
    print(f"PSGCN / ST-GCN: at most {LIMIT_NETWORKS} is to be reached\n")
    sizes = {name: parameter_count(network) for name, network in networks.items()}
    return {"parameters": sizes, "batch": len(batch.quality), "by_threads": results}


def measure_memory(workspace: str, counts: Sequence[int], options: argparse.Namespace) -> dict:
    """Measures each modality and number of clips in a process of its own."""
    rows = []
    for modality in extracted_names():
        for count in counts:
            command = [sys.executable, "-m", "benchmarks.training", "--device", options.device, "--clips", str(count)]
            command += ["--threads", str(options.threads), "--workspace", workspace, "--only-epochs", modality]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append({"modality": modality, "clips": count, **json.loads(output.splitlines()[-1])})
            print(json.dumps(rows[-1]), flush=True)
    growth = max(row["peak_mib"] - of[0]["peak_mib"] for of in _by_modality(rows) for row in of)
    header = ["modality", "clips", "first epoch, s", "later, s", "peak MiB"]
    print(table([list(row.values()) for row in rows], header))
    print(f"most that clips added: {growth} MiB; kept in memory are at most {CACHE_BYTES >> 20} MiB of them\n")
    return {"kept_mib": CACHE_BYTES >> 20, "growth_mib": growth, "rows": rows}


def _by_modality(rows: Sequence[dict]) -> list[list[dict]]:
    return [[row for row in rows if row["modality"] == modality] for modality in extracted_names()]


def only_epochs(workspace: str, modality: str, clips: int, device: torch.device) -> dict:
    """Times two epochs of the first clips: the first reads them, later ones only those that are not in memory."""
    (first, _), (later, _) = epochs_s(
        TimedDataset(workspace, VdvConfig()), modality, np.arange(clips), device, 2
    ).tolist()
    return {"first_epoch_s": round(first, 2), "later_epoch_s": round(later, 2), "peak_mib": peak_mib()}


def measure_whole(workspace: str, counts: Sequence[int], device: torch.device) -> list[dict]:
    """Trains a model on the first clips, all of them training clips."""
    folder, rows = DatasetFolder(workspace, DATASET), []
    clips = folder.read_clips()
    clips = clips.assign(split=TRAIN, percentile=clips.groupby("challenge")["label"].rank(pct=True))
    for count in counts:
        start = now_s()
        dataset = ClipDataset(folder, VdvConfig(), training=True, clips=clips.iloc[:count])
        model = fit(dataset, VdvConfig(), device).model
        wall_s, cpu_s = (round(float(value), 1) for value in now_s() - start)
        networks = {name: len(model.ensemble(name)) for name in model.modalities}
        rows.append({"clips": count, "networks": networks, "wall_s": wall_s, "cpu_s": cpu_s})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def peak_mib() -> int:
    """Peak resident memory of this process. Not getrusage's, which includes the parent process."""
    match = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match.group(1)) >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--clips", type=int, default=4096)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workspace", help="of an earlier run with --keep-in; else one is made and deleted")
    parser.add_argument("--keep-in", type=Path, help="an empty folder for the workspace, which stays there")
    parser.add_argument(
        "--only-epochs", choices=extracted_names(), help="of the part memory: measure this modality in this process"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.only_epochs:
        print(json.dumps(only_epochs(options.workspace, options.only_epochs, options.clips, device)))
        return
    with tempfile.TemporaryDirectory() as folder:
        workspace = options.workspace
        if workspace is None:
            start = perf_counter()
            workspace = make_dataset(options.keep_in or Path(folder), options.clips)
            print(f"{options.clips} clips made in {perf_counter() - start:.0f} s\n")
        results: dict = {"clips": options.clips, "device": device.type, "threads": options.threads}
        if "loop" in options.parts:
            results["loop"] = measure_loop(TimedDataset(workspace, VdvConfig()), device, options.turns)
        if "networks" in options.parts:
            threads = (1, 2) if device.type == "cpu" else (options.threads,)
            results["networks"] = measure_networks(TimedDataset(workspace, VdvConfig()), device, options.turns, threads)
        if "memory" in options.parts:
            counts = [options.clips // 8, options.clips]
            results["memory"] = measure_memory(workspace, counts, options)
        if "whole" in options.parts:
            results["whole"] = measure_whole(workspace, [WHOLE, options.clips], device)
    save("training", results, keep_others=True)


if __name__ == "__main__":
    main()
