"""What networks add to statistics in the joint model, as clips become more, in the product's own training.

    python -m benchmarks.network_weight            # about an hour on two cores
    python -m benchmarks.network_weight --worlds timing --sizes 256 --batch-clips 64 --epochs 12
    python -m benchmarks.network_weight --worlds timing --sizes 256 --ensemble 2

| world | what decides a clip's label, each about half of it |
|---|---|
| timing | how far the limbs swing, which statistics tell, and how far a leg lags behind an arm, which none tells |
| skill | how well the eight dances of the simulated world are danced: nearly a sum of statistics |

Key points are simulated, nothing is rendered; the label is the truth and as much noise. Each training is
`pipeline.training.fit` with the default options, of the pose alone. Evaluated against the truth, on clips of creators
that were not trained on: statistics alone, the network alone, and the score, with its gain over statistics alone (95 %
interval: bootstrap over the test clips' creators, all seeds together).
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from benchmarks.common import save, table
from benchmarks.idea_worlds import lagging_dancers
from benchmarks.made_clips import DATASET, whole_track, write_dataset
from models.virality.config import VdvConfig
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ClipDataset
from pipeline.evaluation.other_fusions import read_evidence
from pipeline.metrics.significance import PRIMARY, Clips, compare, draw_creators
from pipeline.modalities.pose import PoseRows
from pipeline.modalities.record import Grid, ModalityRows
from pipeline.training.fit import MANY_CLIPS, fit
from pipeline.training.joint import KINDS, NETWORK, WITHOUT_NETWORKS, fit_joint
from simulation.filming.keypoints import film_keypoints
from simulation.world import WorldOptions, make_world

TESTED = 512  # clips
SIZES = {"timing": (256, 1024, 4096), "skill": (256, 1024)}  # clips trained on
# In the world "timing" left and right are not alike: nothing is mirrored.
CONFIGS = {"timing": VdvConfig(modalities=("pose",), mirror=0.0), "skill": VdvConfig(modalities=("pose",))}
FRAMES_PER_S = 10.0
CPU = torch.device("cpu")


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
    if name == "timing":
        swing = np.random.default_rng(seed + 1).uniform(0.7, 1.3, count)
        lag, dancers = lagging_dancers(seed, count, swing)
        truth = swing / swing.std() - lag / lag.std()
        for place, (keypoints, seconds) in enumerate(dancers):
            yield "timing", f"dancer{place}", float(truth[place]), keypoints, seconds
        return
    rng = np.random.default_rng(seed)
    options = WorldOptions(seed=seed, clips=count, creators=-(-count * 3 // 8), broken=0.0)
    for upload in make_world(options):
        script = upload.script
        seconds = np.arange(0, script.duration_s, 1 / FRAMES_PER_S)
        keypoints = film_keypoints(script, seconds, rng)
        yield script.dance, upload.creator_id, script.people[0].skill.overall, keypoints, seconds


def train_and_evaluate(
    name: str, trained: int, seed: int, noise: float, changed: Mapping[str, Any]
) -> tuple[dict, pd.DataFrame]:
    """Result of one training, and its scores of the test clips.

    noise: of the label, in deviations of the truth; changed: options other than CONFIGS has them.
    """
    clips, poses = made_world(name, seed, trained)
    rng = np.random.default_rng(seed + 1)
    label = clips["truth"] + noise * clips["truth"].std() * rng.standard_normal(len(clips))
    manifest = clips.drop(columns="truth").assign(likes=(1000 * label.rank()).astype(int))

    def rows_of(clip_id: str) -> dict[str, ModalityRows]:
        return {"pose": poses[clip_id]}

    config, start = replace(CONFIGS[name], seed=seed, **changed), time.perf_counter()
    tested = clips[clips["split"] == "test"]
    with tempfile.TemporaryDirectory(prefix="vdv-network-weight-") as folder:
        workspace = write_dataset(Path(folder), manifest, rows_of, ("pose",))
        fitted = fit(ClipDataset(DatasetFolder(workspace, DATASET), config, training=True), config, CPU)
        view = ClipDataset(DatasetFolder(workspace, DATASET), config, training=False)
        evidence = read_evidence(fitted.model, view, tested.index.tolist(), CPU)
    statistics = fit_joint(fitted.evidence, fitted.clips, kinds=WITHOUT_NETWORKS)
    scores = tested.assign(
        score=fitted.joint.parts(evidence)["pose"],
        statistics=statistics.parts(evidence)["pose"],
        network=evidence["pose"].networks[:, 0].numpy(),
    )
    spearman = {method: _spearman(scores, method) for method in ("statistics", "network", "score")}
    variances = {kind: fitted.joint.variances.get(("pose", kind), 0.0) for kind in KINDS}
    share = variances[NETWORK] / max(sum(variances.values()), 1e-9)
    return {
        "world": name, "asked": trained, "seed": seed, "trained": len(fitted.clips.row), "judged": len(scores),
        **spearman,
        "network_share": round(share, 3), "seconds": round(time.perf_counter() - start, 1),
    }, scores.assign(seed=seed)  # fmt: skip


def gain(scores: pd.DataFrame) -> tuple[float, float, float]:
    """Spearman with the truth of the score less that of statistics alone, and its interval; a seed is a challenge."""
    clips = Clips(
        scores["truth"].to_numpy(float),
        (scores["challenge"] + scores["seed"].astype(str)).to_numpy(str),
        (scores["creator_id"] + scores["seed"].astype(str)).astype("category").cat.codes.to_numpy(np.int64),
    )
    draws = draw_creators(clips.group)
    lead = compare(clips, scores["score"].to_numpy(float), scores["statistics"].to_numpy(float), draws)
    found = lead.by_metric[PRIMARY]
    return round(found.value, 4), round(found.low, 4), round(found.high, 4)


def _spearman(clips: pd.DataFrame, method: str) -> float:
    """Spearman with the truth within a challenge, mean of the challenges."""
    by_challenge = [float(spearmanr(some[method], some["truth"]).statistic) for _, some in clips.groupby("challenge")]
    return round(float(np.mean(by_challenge)), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000, 1001, 1002])
    parser.add_argument("--sizes", type=int, nargs="+", help="clips to train on; default: each world's")
    parser.add_argument("--noise", type=float, default=1.0, help="of the label, in standard deviations of the truth")
    parser.add_argument("--batch-clips", type=int, default=VdvConfig().batch_clips)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--ensemble", type=int, default=VdvConfig().ensemble, help="networks, of few clips")
    options = parser.parse_args()
    torch.set_num_threads(1)
    changed = {"batch_clips": options.batch_clips, "epochs": options.epochs, "ensemble": options.ensemble}
    results, rows = {}, []
    for name in options.worlds:
        for trained in options.sizes or SIZES[name]:
            of_size = [train_and_evaluate(name, trained, seed, options.noise, changed) for seed in options.seeds]
            trainings = [result for result, _ in of_size]
            print(*trainings, sep="\n", flush=True)
            mean = pd.DataFrame(trainings)[["trained", "statistics", "network", "score", "network_share"]].mean()
            lead, low, high = gain(pd.concat([scores for _, scores in of_size]))
            networks = options.ensemble if trained < MANY_CLIPS else 2
            passes = f"{options.epochs or 'the usual'} epochs"
            training = f"batches of {options.batch_clips}, {passes}, {networks} networks"
            results[f"{name}, {trained} clips, noise {options.noise:g}, {training}"] = {
                "trainings": trainings,
                "gain": lead,
                "gain_95": [low, high],
            }
            rows.append([name, round(mean["trained"]), *mean[1:], f"{lead:+.3f} ({low:+.3f} to {high:+.3f})"])
    print(table(rows, ["world", "clips", "statistics alone", "network alone", "score", "network's share of variance",
                       "score less statistics (95 %)"]))  # fmt: skip
    save("network-weight", results, keep_others=True)


if __name__ == "__main__":
    main()
