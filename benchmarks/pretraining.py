"""What pretraining PSGCN on clips without labels adds, in the world `timing` of benchmarks.network_weight.

    python -m benchmarks.pretraining --networks F --probe --pretexts none clip halves masked   # on a seed of its own
    python -m benchmarks.pretraining --networks F --pretexts halves masked --frozen none halves masked clip
    python -m benchmarks.pretraining --networks F --any-lag --pretexts masked --frozen masked --sizes 96

| pretext | what is learned of a clip without a label |
|---|---|
| masked | where two limbs are and how they move while they are hidden, from the features before pooling |
| halves | whether the lower body is at one time with the upper, 0.2 to 1 s apart from it, or another clip's |
| clip | which of the batch's clips another stretch of time is of (InfoNCE) |
| none | nothing: random weights, their norms' statistics settled on the clips |

Half of the label is how far a leg lags behind an arm, which no statistic tells. Unlabelled dancers are of a seed of
their own. Each network is used twice: what the product's training starts from, all but the scores' heads; and frozen,
its embedding one more part of the joint model, by linear and smooth blocks. All but the controls train nine epochs.

In this world the leg lags by 0 to half a swing, never more: who can tell a lag that occurs from one that does not
can nearly tell the label. With --any-lag the unlabelled dancers' legs lag by anything, so that nothing gives it away.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.common import save, table
from benchmarks.idea_worlds import lagging_dancers
from benchmarks.made_clips import DATASET, write_dataset
from benchmarks.network_weight import CONFIGS, CPU, FRAMES_PER_S, gain, made_world
from models.virality.config import EPOCHS, VdvConfig
from models.virality.inputs import InputSpec, ModalityInput, pad
from models.virality.joint import FEATURE_LIMIT, Evidence, Part
from models.virality.pose_sampling import LeadPose, sample_poses
from models.virality.psgcn import Psgcn
from models.virality.skeleton import COCO17, STREAMS, Posture, normalise
from models.virality.vdv import build_encoder, encode
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.loading import ClipDataset
from pipeline.evaluation.other_fusions import read_evidence
from pipeline.training.encoder_training import build_encoder as build_untrained
from pipeline.training.fit import Fitted, fit
from pipeline.training.joint import KINDS, WITHOUT_NETWORKS, calibrate, fit_joint
from pipeline.training.optimisation import parameter_groups, reset_norm_statistics

CONFIG = CONFIGS["timing"]
UNLABELLED, UNLABELLED_SEED, PROBE_SEED = 2048, 5000, 900
RATE, BATCH, TEMPERATURE = 3e-3, 32, 0.1
LIMBS = [[7, 9], [8, 10], [13, 15], [14, 16]]  # no bone of another joint ends at these
LOWER = np.arange(len(COCO17.joints)) >= COCO17.hips[0]
SHIFT = (round(0.2 * FRAMES_PER_S), round(FRAMES_PER_S))  # frames


# --- pretexts


class Pretext(nn.Module):
    """A network and the heads of its pretext; `loss` of a batch of clips."""

    features: Tensor  # [N, T V, C] of the last forward pass: the joint level, refined, before pooling

    def __init__(self, network: Psgcn, name: str):
        super().__init__()
        self.network, self.name = network, name
        joints, refined = len(COCO17.joints), CONFIG.refined_channels
        self.coordinates = nn.Parameter(torch.randn(joints, refined, 8) / refined**0.5)  # a linear head a joint
        self.halves = nn.Linear(network.embedding_size, 3)
        self.projection = nn.Sequential(nn.Linear(network.embedding_size, 64), nn.ReLU(), nn.Linear(64, 32))
        network.pool[0].register_forward_pre_hook(lambda _, given: setattr(self, "features", given[0]))

    def loss(self, clips: list[Posture], rng: np.random.Generator) -> Tensor:
        if self.name == "halves":
            together = [_halves(clips, place, int(rng.integers(3)), rng) for place in range(len(clips))]
            given = self.sampled([clip for clip, _ in together], rng)
            logits = self.halves(encode(self.network, given).embedding)
            return F.cross_entropy(logits, torch.tensor([kind for _, kind in together]))
        if self.name == "masked":
            return self.masked(self.sampled(clips, rng), rng)
        stretches = [_stretch(clip, half, rng) for half in (0, 1) for clip in clips]
        embedding = encode(self.network, self.sampled(stretches, rng)).embedding
        one, other = F.normalize(self.projection(embedding), dim=1).chunk(2)
        alike = one @ other.T / TEMPERATURE
        own = torch.arange(len(clips))
        return (F.cross_entropy(alike, own) + F.cross_entropy(alike.T, own)) / 2

    def masked(self, given: ModalityInput, rng: np.random.Generator) -> Tensor:
        """Mean squared error of hidden limbs, in deviations of each stream and joint."""
        frames = given.mask.shape[2]
        hidden = torch.zeros_like(given.mask)
        for place in range(len(hidden)):
            for limb in rng.choice(len(LIMBS), 2, replace=False):
                length = int(rng.integers(frames // 4, 3 * frames // 4))
                first = int(rng.integers(frames - length + 1))
                hidden[place, 0, first : first + length, LIMBS[limb]] = True
        encode(self.network, given._replace(mask=given.mask & ~hidden))
        features = self.features.unflatten(1, (frames, -1))  # [N, T, V, C]
        found = torch.einsum("ntvc,vcd->ndtv", features, self.coordinates)
        norm = self.network.input_norm
        wanted = ((given.values[:, 0] - norm.mean) / (norm.variance + norm.EPS).sqrt())[:, :8]
        judged = (hidden & given.mask).expand(-1, 8, -1, -1)
        return F.mse_loss(found[judged], wanted[judged].detach())

    @staticmethod
    def sampled(clips: list[Posture], rng: np.random.Generator) -> ModalityInput:
        """Input of postures, augmented as in training."""
        poses = [LeadPose(clip, torch.tensor(0.9)) for clip in clips]
        return pad(sample_poses(poses, CONFIG, [rng] * len(poses)))


def _frames(clip: Posture, first: int, count: int) -> Posture:
    some = slice(first, first + count)
    return Posture(clip.position[some], clip.seen[some], clip.confidence[some], clip.seconds[some])


def _stretch(clip: Posture, half: int, rng: np.random.Generator) -> Posture:
    """0.7 to 1 of the first or second half: of any length, lest the length tell the clip."""
    middle = len(clip.seconds) // 2
    count = max(int(middle * rng.uniform(0.7, 1)), 1)
    return _frames(clip, half * middle + int(rng.integers(middle - count + 1)), count)


def _halves(clips: list[Posture], place: int, kind: int, rng: np.random.Generator) -> tuple[Posture, int]:
    """A stretch of a clip with its own lower body (0), its own later or earlier (1), or the next clip's (2), and which.

    Stretches are as long whatever the kind, lest the length tell it.
    """
    own, other = clips[place], clips[(place + 1) % len(clips)]
    count = max(min(len(own.seconds), len(other.seconds)) - SHIFT[1], 1)
    first, second = 0, int(rng.integers(SHIFT[0], SHIFT[1] + 1))
    if rng.random() < 0.5:
        first, second = second, first
    upper = _frames(own, first, count)
    lower = _frames(other if kind == 2 else own, first if kind == 0 else second, count)
    return Posture(
        np.where(LOWER[:, None], lower.position, upper.position),
        np.where(LOWER, lower.seen, upper.seen),
        np.where(LOWER, lower.confidence, upper.confidence),
        upper.seconds,
    ), kind


def pretrain(name: str, clips: list[Posture], epochs: int, seed: int = 0) -> Psgcn:
    """The pretrained network, in eval mode; prints the pretext's loss on the last eighth of the clips, held out."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = fresh_network()
    pretext = Pretext(network, name)
    trained, held_out = clips[: -len(clips) // 8], clips[-len(clips) // 8 :]
    batch = 2 * BATCH if name == "clip" else BATCH
    batches = len(trained) // batch
    optimiser = torch.optim.AdamW(parameter_groups(pretext, CONFIG.weight_decay), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * batches)
    start = time.perf_counter()
    for epoch in range(epochs if name != "none" else 0):
        losses = []
        for rows in np.array_split(rng.permutation(len(trained)), batches):
            loss = pretext.loss([trained[row] for row in rows], rng)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(pretext.parameters(), CONFIG.clip_norm)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        if epoch % 4 == 3 or epoch == epochs - 1:
            print(
                f"{name}: epoch {epoch + 1} loss {np.mean(losses):.3f}, {time.perf_counter() - start:.0f} s", flush=True
            )
    reset_norm_statistics(network)
    with torch.no_grad():
        for rows in np.array_split(np.arange(len(trained)), batches):
            encode(network, pretext.sampled([trained[row] for row in rows], rng))
        pretext.eval()
        if name != "none":
            parts = [held_out[at : at + batch] for at in range(0, len(held_out) - batch + 1, batch)]
            print(f"{name}: held out {np.mean([float(pretext.loss(part, rng)) for part in parts]):.3f}", flush=True)
    return network.eval()


def dancers(seed: int, count: int, longest: float = np.pi) -> tuple[np.ndarray, np.ndarray, list[Posture]]:
    """Lag, swing, postures of dancers of the world, as benchmarks.network_weight draws them but for the longest lag."""
    swing = np.random.default_rng(seed + 1).uniform(0.7, 1.3, count)
    lag, made = lagging_dancers(seed, count, swing, longest)
    threshold = VdvConfig().min_joint_score
    return lag, swing, [normalise(one, np.ones(len(at), bool), at, threshold) for one, at in made]


def network_of(name: str, options: argparse.Namespace) -> Psgcn:
    """The network pretrained on a pretext, kept in the folder."""
    kept = options.networks / f"{name}-{options.unlabelled}-{options.epochs}{'-any' * options.any_lag}.safetensors"
    if not kept.exists():
        longest = 2 * np.pi if options.any_lag else np.pi
        trained = pretrain(name, dancers(UNLABELLED_SEED, options.unlabelled, longest)[2], options.epochs)
        save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, kept)
    network = fresh_network()
    network.load_state_dict(load_file(kept))
    return network.eval()


def fresh_network() -> Psgcn:
    network = build_encoder(CONFIG, InputSpec(STREAMS, is_skeleton=True))
    assert isinstance(network, Psgcn)
    return network


# --- what it is worth


@torch.inference_mode()
def probe(networks: dict[str, Psgcn]) -> None:
    """Print the Spearman of a ridge of frozen embeddings with lag and swing, which it was fitted to, on 512 others."""
    lag, swing, postures = dancers(PROBE_SEED, 1024 + 512)
    given = [pad(sample_poses([LeadPose(one, torch.tensor(0.9)) for one in postures[at : at + 64]], CONFIG, None))
             for at in range(0, len(postures), 64)]  # fmt: skip
    rows = []
    for name, network in networks.items():
        embedding = torch.cat([encode(network, batch).embedding for batch in given]).double().numpy()
        for count in (96, 256, 1024):
            found = [
                spearmanr(ridge(embedding[:count], wanted[:count], embedding[1024:]), wanted[1024:]).statistic
                for wanted in (lag, swing)
            ]
            rows.append([name, count, *map(float, found)])
    print(table(rows, ["pretext", "clips", "lag", "swing"]), flush=True)


def ridge(known: np.ndarray, wanted: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Prediction by the penalty with the least error of clips left out, one by one."""
    mean, scale, usual = known.mean(0), known.std(0) + 1e-6, wanted.mean()
    known, others = (known - mean) / scale, (others - mean) / scale
    left, values, right = np.linalg.svd(known, full_matrices=False)
    best = (np.inf, others[:, 0])
    for penalty in 10.0 ** np.arange(-1, 5, 0.5):
        kept = values**2 / (values**2 + penalty)
        hat = (left * kept) @ left.T
        error = (wanted - usual - hat @ (wanted - usual)) / (1 - np.diag(hat) - 1 / len(known))
        weights = right.T @ (kept / values * (left.T @ (wanted - usual)))
        best = min(best, (float(np.square(error).mean()), others @ weights), key=lambda one: one[0])
    return best[1]


@contextmanager
def started_from(network: Psgcn | None) -> Iterator[None]:
    """The product's training starts from these weights, all but the scores' heads."""
    if network is None:
        yield
        return
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}

    def build(config: VdvConfig, spec: InputSpec) -> nn.Module:
        fresh = build_untrained(config, spec)
        fresh.load_state_dict(state, strict=False)
        return fresh

    with patch("pipeline.training.encoder_training.build_encoder", build):
        yield


@torch.inference_mode()
def embeddings(network: Psgcn, view: ClipDataset, rows: list[int]) -> Tensor:
    batches = view.view("pose", training=False).in_batches(rows, CONFIG.batch_clips)
    return torch.cat([encode(network, batch.inputs["pose"]).embedding for batch in batches])


def with_embedding(
    fitted: Fitted, evidence: dict[str, Evidence], known: Tensor, others: Tensor, kinds: tuple[str, ...] = KINDS
) -> np.ndarray:
    """Score by a joint model with one more part, of the embeddings of the clips trained on and the others."""
    part = Part(known.shape[1], FEATURE_LIMIT, networks=0)
    ones = torch.ones(len(known))
    read = calibrate(part, known, known[:, :0], ones, ones.bool())
    joint = fit_joint({**fitted.evidence, "embedding": read}, fitted.clips, kinds)
    ones = torch.ones(len(others))
    more = part.read(others, others[:, :0], ones, ones.bool())
    return sum(joint.parts({**evidence, "embedding": more}).values(), np.zeros(len(others)))


def train_and_evaluate(
    trained: int, seed: int, noise: float, networks: dict[str, Psgcn], frozen: dict[str, Psgcn], epochs: list[int]
) -> tuple[dict, pd.DataFrame]:
    """Spearman with the truth and seconds of each method; the scores of the test clips.

    networks: that training starts from; frozen: beside it; epochs: of trainings from random weights, as a control.
    """
    clips, poses = made_world("timing", seed, trained)
    rng = np.random.default_rng(seed + 1)
    label = clips["truth"] + noise * clips["truth"].std() * rng.standard_normal(len(clips))
    manifest = clips.drop(columns="truth").assign(likes=(1000 * label.rank()).astype(int))
    lag = np.random.default_rng(seed).uniform(0, np.pi, len(clips))  # as lagging_dancers draws it
    tested, config = clips[clips["split"] == "test"], replace(CONFIG, seed=seed, epochs=EPOCHS)
    scores, seconds = tested.assign(lag=-lag[tested.index]), {}
    starts: list[tuple[str, Psgcn | None, VdvConfig]] = [("random", None, config)]
    starts += [(f"{count} epochs", None, replace(config, epochs=count)) for count in epochs]
    starts += [(name, network, config) for name, network in networks.items()]
    with tempfile.TemporaryDirectory(prefix="vdv-pretraining-") as folder:
        workspace = write_dataset(Path(folder), manifest, lambda clip_id: {"pose": poses[clip_id]}, ("pose",))
        view = ClipDataset(DatasetFolder(workspace, DATASET), config, training=False)
        for name, start, options in starts:
            began = time.perf_counter()
            with started_from(start):
                fitted = fit(ClipDataset(DatasetFolder(workspace, DATASET), options, training=True), options, CPU)
            seconds[name] = round(time.perf_counter() - began, 1)
            evidence = read_evidence(fitted.model, view, tested.index.tolist(), CPU)
            scores[f"network, {name}"] = evidence["pose"].networks[:, 0].numpy()
            scores[f"score, {name}"] = fitted.joint.parts(evidence)["pose"]
            if name == "random":
                statistics = fit_joint(fitted.evidence, fitted.clips, kinds=WITHOUT_NETWORKS)
                scores["statistics"] = statistics.parts(evidence)["pose"]
                for other, network in frozen.items():
                    known = embeddings(network, view, fitted.clips.row.tolist())
                    others = embeddings(network, view, tested.index.tolist())
                    scores[f"statistics + {other}"] = with_embedding(
                        fitted, evidence, known, others, kinds=WITHOUT_NETWORKS
                    )
                    scores[f"score + {other}"] = with_embedding(fitted, evidence, known, others)
    methods = [name for name in scores if name.startswith(("statistics", "network", "score"))]
    spearman = {name: round(float(spearmanr(scores[name], scores["truth"]).statistic), 4) for name in methods}
    of_lag = {name: round(float(spearmanr(scores[name], scores["lag"]).statistic), 4) for name in methods}
    return {
        "asked": trained, "seed": seed, "trained": len(fitted.clips.row), "judged": len(scores),
        "spearman": spearman, "with_lag": of_lag, "seconds": seconds,
    }, scores.assign(seed=seed)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=Path, required=True, help="folder of the pretrained networks")
    parser.add_argument("--pretexts", nargs="*", default=["halves", "masked"], help="that training starts from")
    parser.add_argument(
        "--frozen", nargs="*", default=["none", "halves", "masked", "clip"], help="whose embedding is beside it"
    )
    parser.add_argument("--control-epochs", type=int, nargs="*", default=[], help="of trainings from random weights")
    parser.add_argument("--unlabelled", type=int, default=UNLABELLED)
    parser.add_argument("--epochs", type=int, default=14, help="of the pretext")
    parser.add_argument(
        "--any-lag", action="store_true", help="of unlabelled dancers: 0 to a whole swing, none likelier"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000, 1001, 1002])
    parser.add_argument("--noise", type=float, default=1.0, help="of the label, in standard deviations of the truth")
    parser.add_argument("--probe", action="store_true", help="linear probes of the pretexts, and no more")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = options.pretexts if options.probe else dict.fromkeys([*options.pretexts, *options.frozen])
    networks = {name: network_of(name, options) for name in wanted}
    if options.probe:
        probe(networks)
        return
    chosen, frozen = ({name: networks[name] for name in names} for names in (options.pretexts, options.frozen))
    results = {}
    for trained in options.sizes:
        of_size = []
        for seed in options.seeds:
            of_size.append(train_and_evaluate(trained, seed, options.noise, chosen, frozen, options.control_epochs))
            print(of_size[-1][0], flush=True)
        scores = pd.concat([one for _, one in of_size])
        rows, leads = [], {}
        for name in of_size[0][0]["spearman"]:
            base = "network, random" if name.startswith("network") else "score, random"
            lead = gain(scores.assign(score=scores[name], statistics=scores[base])) if name != base else (0.0, 0.0, 0.0)
            leads[name] = lead
            means = [float(np.mean([one[kind][name] for one, _ in of_size])) for kind in ("spearman", "with_lag")]
            rows.append([name, *means, f"{lead[0]:+.3f} ({lead[1]:+.3f} to {lead[2]:+.3f})"])
        print(
            f"{trained} clips",
            table(rows, ["method", "truth", "lag", "less random start (95 %)"]),
            sep="\n",
            flush=True,
        )
        unlabelled = f"{options.unlabelled} unlabelled" + ", of any lag" * options.any_lag
        controls = "".join(f", {count} epochs" for count in options.control_epochs)
        starts = " or ".join(["random", *options.pretexts])
        results[f"{trained} clips, {starts} start, {unlabelled}{controls}"] = {
            "trainings": [one for one, _ in of_size],
            "leads": leads,
        }
    save("pretraining", results, keep_others=True)


if __name__ == "__main__":
    main()
