"""Weight of a network beside its ridge regression, as clips become more, in the product's own training.

    python -m benchmarks.network_weight            # about 40 minutes on one core

| world | what decides a clip's label |
|---|---|
| lag | how far the right leg lags behind the left arm (benchmarks.idea_worlds): in no statistic of the ridge |
| skill | how well the eight dances of the simulated world are danced: nearly a sum of the ridge's statistics |

Key points are simulated, nothing is rendered. Each training is `pipeline.training.fit` with the default options, of the
pose alone: the ridge, PSGCN and, on clips held out, their weights. Evaluated against the truth, on clips of creators
that were not trained on: the ridge alone, the network alone, and the score.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from benchmarks.common import save, table
from benchmarks.idea_worlds import lagging_dancers
from benchmarks.made_clips import DATASET, whole_track, write_dataset
from models.virality.config import VdvConfig
from models.virality.masked import LevelMix
from models.virality.vdv import encode
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ClipDataset
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.training.fit import fit
from simulation.filming.keypoints import film_keypoints
from simulation.world import WorldOptions, make_world

TESTED = 512  # clips
SIZES = {"lag": (96, 192, 384, 768), "skill": (128, 512, 2048)}  # clips trained on
# In the world "lag" left and right are not alike: nothing is mirrored.
CONFIGS = {"lag": VdvConfig(modalities=("pose",), mirror=0.0), "skill": VdvConfig(modalities=("pose",))}
FRAMES_PER_S = 10.0


def made_world(name: str, seed: int, trained: int) -> tuple[pd.DataFrame, dict[str, PoseRows]]:
    """clip_id, challenge, creator_id, truth and split of about `trained` + TESTED clips; the pose of each."""
    rows, poses = [], {}
    for place, (challenge, creator, truth, keypoints, seconds) in enumerate(_dances(name, seed, trained + TESTED)):
        clip_id = f"clip{place:05}"
        rows.append((clip_id, challenge, creator, truth))
        grid = Grid(np.round(seconds * 30).astype(np.int32), seconds.astype(np.float32))
        poses[clip_id] = PoseRows(clip_id, grid, (whole_track(keypoints),))
    clips = pd.DataFrame(rows, columns=["clip_id", "challenge", "creator_id", "truth"])
    counts = clips["creator_id"].value_counts(sort=False).sample(frac=1, random_state=seed)
    tested = counts.index[counts.cumsum() <= TESTED]
    return clips.assign(split=np.where(clips["creator_id"].isin(tested), "test", "train")), poses


def _dances(name: str, seed: int, count: int) -> Iterator[tuple[str, str, float, np.ndarray, np.ndarray]]:
    """Challenge, creator, truth, key points [T, 17, 3], seconds [T] of each."""
    if name == "lag":
        lag, dancers = lagging_dancers(seed, count)
        for place, (keypoints, seconds) in enumerate(dancers):
            yield "lag", f"dancer{place}", -float(lag[place]), keypoints, seconds
        return
    rng = np.random.default_rng(seed)
    options = WorldOptions(seed=seed, clips=count, creators=-(-count * 3 // 8), broken=0.0)
    for upload in make_world(options):
        script = upload.script
        seconds = np.arange(0, script.duration_s, 1 / FRAMES_PER_S)
        keypoints = film_keypoints(script, seconds, rng)
        yield script.dance, upload.creator_id, script.people[0].skill.overall, keypoints, seconds


def train_and_evaluate(name: str, trained: int, seed: int, noise: float) -> dict:
    """Result of one training. noise: of the label, in standard deviations of the truth."""
    clips, poses = made_world(name, seed, trained)
    rng = np.random.default_rng(seed + 1)
    label = clips["truth"] + noise * clips["truth"].std() * rng.standard_normal(len(clips))
    manifest = clips.drop(columns="truth").assign(likes=(1000 * label.rank()).astype(int))

    def rows_of(clip_id: str) -> dict[str, ModalityRows]:
        return {"pose": poses[clip_id]}

    config, start = replace(CONFIGS[name], seed=seed), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vdv-network-weight-") as folder:
        workspace = write_dataset(Path(folder), manifest, rows_of, ("pose",))
        fitted = fit(ClipDataset(DatasetFolder(workspace, DATASET), config, training=True), config, torch.device("cpu"))
        levels = _levels(
            fitted.model.encoders["pose"], ClipDataset(DatasetFolder(workspace, DATASET), config, training=False)
        )
    mix = cast(LevelMix, fitted.model.encoders["pose"].mix)
    training = (clips["split"] == "train").to_numpy()
    parts = (levels - levels[training].mean(0)) * mix.weight.numpy()
    network, ridge = parts[:, : mix.network_levels].sum(1), levels[:, -1]
    scores = {"ridge": ridge, "network": levels[:, : mix.network_levels].mean(1), "score": parts.sum(1)}
    spread = {"network": network[training].std(), "ridge": parts[training, -1].std()}
    spearman = {method: _spearman(clips[~training], score[~training]) for method, score in scores.items()}
    share = float(spread["network"] / max(spread["network"] + spread["ridge"], 1e-9))
    return {
        "world": name, "asked": trained, "seed": seed, "trained": int(training.sum()), "judged": int((~training).sum()),
        **spearman,
        "network_share": round(share, 3), "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip


@torch.inference_mode()
def _levels(encoder: torch.nn.Module, view: ClipDataset) -> np.ndarray:
    """Scores of the network's levels and of the ridge, float64 [clips, L]."""
    batches = view.in_batches(range(len(view)), 64)
    return torch.cat([encode(encoder, batch.inputs["pose"]).levels for batch in batches]).double().numpy()


def _spearman(clips: pd.DataFrame, score: np.ndarray) -> float:
    """Spearman with the truth within a challenge, mean of the challenges."""
    by_challenge = [
        float(spearmanr(score[rows], clips["truth"].to_numpy()[rows]).statistic)
        for rows in clips.groupby("challenge").indices.values()
    ]
    return round(float(np.mean(by_challenge)), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000, 1001, 1002])
    parser.add_argument("--noise", type=float, default=1.0, help="of the label, in standard deviations of the truth")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name in options.worlds:
        for trained in SIZES[name]:
            for seed in options.seeds:
                results.append(train_and_evaluate(name, trained, seed, options.noise))
                print(results[-1], flush=True)
    columns = ["ridge", "network", "score", "network_share"]
    mean = pd.DataFrame(results).groupby(["world", "asked"])[["trained", *columns]].mean()
    print(table([[world, round(row["trained"]), *row[columns]] for (world, _), row in mean.iterrows()],
                ["world", "clips", "ridge alone", "network alone", "score", "network's share"]))  # fmt: skip
    if set(options.worlds) == set(SIZES):
        save("network-weight", {"noise": options.noise, "trainings": results})


if __name__ == "__main__":
    main()
