"""A world for each idea of the model that needs the idea: if it does not win there, it is not worth its code.

    python -m benchmarks.idea_worlds            # about ten minutes on one core

| world | what decides a clip's label | must win | over |
|---|---|---|---|
| timing | how far the right leg lags behind the left arm | the pyramid | a flat ST-GCN of as many parameters |
| repeats | whether two events, far apart, are alike | temporal relations | the same network without, a plain TCN |
| unreliable | each modality, but one is noise where its quality is low | weights clip by clip | fixed, equal weights |

Worlds are drawn anew for each seed, as features: nothing is rendered. Networks, losses and joint model are the
product's, without statistics; both sides are trained alike. Labels are judged on clips that were not
trained on; a seed's clips are a challenge of their own, every clip has its own creator.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from benchmarks.common import save, table
from models.virality.config import VdvConfig
from models.virality.inputs import InputSpec, ModalityInput, pad
from models.virality.joint import Evidence
from models.virality.pose_sampling import LeadPose, sample_pose
from models.virality.skeleton import normalise
from models.virality.vdv import build_encoder, encode
from pipeline.metrics.significance import PRIMARY, Clips, compare, draw_creators, estimate
from pipeline.training.joint import TrainingClips, fit_joint
from pipeline.training.optimisation import loss_of, parameter_groups

TRAINED, TESTED = 384, 384  # clips of a seed
Side = VdvConfig | str  # how a network is trained, or how the joint model is fitted
FRAMES_PER_S = 10


@dataclass(frozen=True)
class World:
    """N clips of one modality. The first TRAINED are trained on."""

    modality: str
    clips: tuple[LeadPose | ModalityInput, ...]
    label: np.ndarray  # float64 [N]


# --- timing of limbs against each other


def timing_world(seed: int) -> World:
    """Dancers whose four limbs swing at one pace. The label is the lag of the right leg behind the left arm, 0 to half
    a swing; it does not depend on how far, how fast and when each limb moves by itself.
    """
    lag, dancers = lagging_dancers(seed, TRAINED + TESTED)
    clips = (
        LeadPose(normalise(keypoints, np.ones(len(seconds), bool), seconds, 0.3), torch.tensor(0.9))
        for keypoints, seconds in dancers
    )
    return World("pose", tuple(clips), -lag)


def lagging_dancers(
    seed: int, count: int, swing: np.ndarray | None = None, longest: float = np.pi
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """The dancers' lags, 0 to half a swing, float64 [count]; and their key points [T, 17, 3] and seconds [T].

    swing: [count] factors of how far the limbs swing; None: 1. longest: lag, in rad of a swing.
    """
    rng = np.random.default_rng(seed)
    lag = rng.uniform(0, longest, count)
    swing = np.ones(count) if swing is None else swing
    return lag, [_dance(one, far, rng) for one, far in zip(lag, swing, strict=True)]


def _dance(lag: float, swing: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Key points in pixels over 4 to 8 s, with noise of 1 % of the height and one joint in 25 not seen."""
    seconds = np.arange(rng.integers(4 * FRAMES_PER_S, 8 * FRAMES_PER_S)) / FRAMES_PER_S
    left_arm, right_arm, left_leg = rng.uniform(0, 2 * np.pi, 3)
    turned = 2 * np.pi * rng.uniform(0.5, 1.0) * seconds
    joints = np.zeros((len(seconds), 17, 2))
    joints[:, :5] = [(0, -150), (8, -158), (-8, -158), (16, -155), (-16, -155)]
    for side, first, phase in ((1, 5, left_arm), (-1, 6, right_arm)):
        shoulder, angle = np.array((35 * side, -110)), 0.9 + swing * rng.uniform(0.3, 0.7) * np.sin(turned - phase)
        joints[:, first] = shoulder
        joints[:, first + 2] = shoulder + 55 * _towards(side * angle)
        joints[:, first + 4] = joints[:, first + 2] + 50 * _towards(side * (angle + 0.3))
    for side, first, phase in ((1, 11, left_leg), (-1, 12, left_arm + lag)):
        hip, angle = np.array((22 * side, 0)), 0.2 + swing * rng.uniform(0.2, 0.4) * np.sin(turned - phase)
        joints[:, first] = hip
        joints[:, first + 2] = hip + 75 * _towards(side * angle)
        joints[:, first + 4] = joints[:, first + 2] + 75 * _towards(side * angle * 0.7)
    noisy = joints * rng.uniform(0.8, 1.3) + rng.uniform(250, 450, 2) + rng.normal(0, 3, joints.shape)
    score = np.where(rng.random((*joints.shape[:2], 1)) > 0.04, 0.9, 0.1)
    return np.concatenate([noisy, score], 2), seconds


def _towards(angle: np.ndarray) -> np.ndarray:
    """Unit vectors [T, 2], at angle 0 straight down."""
    return np.stack([np.sin(angle), np.cos(angle)], 1)


# --- far-apart repeats

KINDS, WIDTH, LONG = 4, 16, 120  # of events; features; frames


def repeats_world(seed: int) -> World:
    """Noise with two events of three frames, farther apart than the 63 frames that the convolutions reach. Each is of
    one of four kinds; the label is whether the kinds are the same. It does not depend on one event alone.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.normal(0, 1, (KINDS, WIDTH))
    kinds *= 3 / np.linalg.norm(kinds, axis=1, keepdims=True) * np.sqrt(WIDTH) / 2
    clips, label = [], np.zeros(TRAINED + TESTED)
    for place in range(len(label)):
        values = rng.normal(0, 0.5, (LONG, WIDTH))
        one = rng.integers(KINDS)
        other = one if rng.random() < 0.5 else (one + rng.integers(1, KINDS)) % KINDS
        first, last = rng.integers(0, 20), rng.integers(LONG - 22, LONG - 2)
        values[first : first + 3] += kinds[one]
        values[last : last + 3] += kinds[other]
        label[place] = one == other
        features = torch.from_numpy(values.astype(np.float32))
        clips.append(ModalityInput(features, torch.ones(LONG, dtype=torch.bool), torch.tensor(1.0)))
    return World("appearance", tuple(clips), label)


# --- a modality that is unreliable in some clips


def unreliable_world(seed: int) -> tuple[dict[str, Evidence], np.ndarray]:
    """Networks' scores of three modalities, each the label and noise, and the label, of clips that have them all.

    The first is the best, but in two of five clips, whose quality is low, it is noise alone.
    """
    rng = np.random.default_rng(seed)
    count = TRAINED + TESTED
    label = rng.normal(0, 1, count)
    bad = rng.random(count) < 0.4
    scores = label[:, None] + rng.normal(0, 1, (count, 3)) * (0.5, 1.5, 1.5)
    scores[bad, 0] = rng.normal(0, 1.2, bad.sum())
    quality = rng.uniform(0.6, 0.9, (count, 3))
    quality[bad, 0] = rng.uniform(0.05, 0.3, bad.sum())
    clarity = (quality - quality.mean(0)) / quality.std(0)
    present = torch.ones(count, dtype=torch.bool)
    return {
        f"modality{place}": Evidence(
            torch.zeros(count, 0),
            torch.zeros(count, 0),
            torch.from_numpy(scores[:, [place]]),
            torch.from_numpy(clarity[:, place]),
            present,
        )
        for place in range(3)
    }, label


# --- training and evaluation


def fused_scores(evidence: dict[str, Evidence], label: np.ndarray, side: Side) -> np.ndarray:
    """Scores of the other clips by a joint model fitted to the first, float64 [N - TRAINED]."""
    first, rest = (
        {name: Evidence(*(values[part] for values in one)) for name, one in evidence.items()}
        for part in (slice(TRAINED), slice(TRAINED, None))
    )
    if side == "mean":
        return np.sum([one.networks[:, 0].numpy() for one in rest.values()], 0)
    row = np.arange(TRAINED)
    clips = TrainingClips(row, np.full(TRAINED, "one"), row, (rankdata(label[:TRAINED]) - 0.5) / TRAINED)
    joint = fit_joint(first, clips, gates=side == "gates")
    return np.sum(list(joint.parts(rest).values()), 0)


def network_scores(world: World, config: VdvConfig) -> np.ndarray:
    """Scores of the other clips by an encoder trained on the first, float64 [N - TRAINED]."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    encoder = build_encoder(config, InputSpec(WIDTH, is_skeleton=world.modality == "pose"))
    percentile = torch.from_numpy(((rankdata(world.label[:TRAINED]) - 0.5) / TRAINED).astype(np.float32))
    batches = -(-TRAINED // config.batch_clips)
    rate = config.rate(world.modality == "pose")
    optimiser = torch.optim.AdamW(parameter_groups(encoder, config.weight_decay), rate)
    epochs = config.epochs_of(batches, world.modality == "pose")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * batches)
    encoder.train()
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(TRAINED), batches):
            optimiser.zero_grad()
            _loss(encoder, world.modality, _batch(world, rows, config, rng), percentile[rows], config).backward()
            nn.utils.clip_grad_norm_(encoder.parameters(), config.clip_norm)
            optimiser.step()
            schedule.step()
    encoder.eval()
    rows = np.arange(TRAINED, len(world.clips))
    with torch.inference_mode():
        parts = [encode(encoder, _batch(world, some, config, None)) for some in np.array_split(rows, 6)]
    return torch.cat([part.score for part in parts]).double().numpy()


def _batch(world: World, rows: np.ndarray, config: VdvConfig, rng: np.random.Generator | None) -> ModalityInput:
    chosen = (world.clips[row] for row in rows)
    return pad([sample_pose(clip, config, rng) if isinstance(clip, LeadPose) else clip for clip in chosen])


def _loss(encoder: nn.Module, name: str, modality: ModalityInput, percentile: Tensor, config: VdvConfig) -> Tensor:
    """Loss of clips that are one challenge."""
    output = encode(encoder, modality)
    one, all_of_them = torch.zeros(len(percentile), dtype=torch.int64), torch.ones(len(percentile), dtype=torch.bool)
    return loss_of(output.score, output.levels, percentile, one, all_of_them, config)


@dataclass(frozen=True)
class Idea:
    """A world, and configurations of which the first must win."""

    title: str
    sides: Mapping[str, Side]
    scores: Callable[[int, Side], tuple[np.ndarray, np.ndarray]]  # seed -> score and label of the test clips


def _of_networks(make: Callable[[int], World]) -> Callable[[int, Side], tuple[np.ndarray, np.ndarray]]:
    def scores(seed: int, side: Side) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(side, VdvConfig)
        world = make(seed)
        return network_scores(world, replace(side, seed=seed)), world.label[TRAINED:]

    return scores


def _of_fusions(seed: int, side: Side) -> tuple[np.ndarray, np.ndarray]:
    evidence, label = unreliable_world(seed)
    return fused_scores(evidence, label, side), label[TRAINED:]


# Longer and faster than for dance: the worlds hold next to no noise to learn by heart, and both sides gain.
TIMING = VdvConfig(frames=32, mirror=0.0, epochs=20, batch_clips=64, pose_rate=3e-3)
REPEATS = VdvConfig(epochs=20, batch_clips=64, learning_rate=3e-3, dropout=0.1)
IDEAS = {
    "timing": Idea(
        "limbs' timing against each other",
        {
            "pyramid": TIMING,
            "flat ST-GCN": replace(TIMING, pose_network="st_gcn"),
            "joints alone, PSGCN's blocks": replace(TIMING, pyramid=False),
        },
        _of_networks(timing_world),
    ),
    "repeats": Idea(
        "two events far apart, alike or not",
        {"relations": REPEATS, "plain TCN": replace(REPEATS, relations_after=())},
        _of_networks(repeats_world),
    ),
    "unreliable": Idea(
        "a modality that is noise where its quality is low",
        {"clip by clip": "gates", "fixed weights": "fixed", "equal weights": "mean"},
        _of_fusions,
    ),
}


def evaluate_idea(idea: Idea, seeds: Sequence[int]) -> list[dict]:
    """A row a side: Spearman with the label, mean of the seeds, with its 95 % interval; and the first side's lead."""
    by_side: dict[str, list[np.ndarray]] = {side: [] for side in idea.sides}
    labels = []
    for seed in seeds:
        for name, side in idea.sides.items():
            score, label = idea.scores(seed, side)
            by_side[name].append(score)
        labels.append(label)
    challenge = np.repeat([f"seed {seed}" for seed in seeds], [len(label) for label in labels])
    clips = Clips(np.concatenate(labels), challenge, np.arange(len(challenge)))
    draws = draw_creators(clips.group)
    first, rows = np.concatenate(next(iter(by_side.values()))), []
    for place, (side, scores) in enumerate(by_side.items()):
        score = np.concatenate(scores)
        spearman = estimate(clips, score, draws)[PRIMARY]
        row: dict = {"side": side, "spearman": [spearman.value, spearman.low, spearman.high]}
        if place:
            difference = compare(clips, first, score, draws)
            lead = difference.by_metric[PRIMARY]
            row |= {"first_better_by": [lead.value, lead.low, lead.high], "p": difference.p}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ideas", nargs="+", default=list(IDEAS), choices=list(IDEAS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {}
    for name in options.ideas:
        rows = evaluate_idea(IDEAS[name], options.seeds)
        print(f"\n{name}: {IDEAS[name].title}")
        print(table([_cells(row) for row in rows], ["side", "Spearman (95 %)", "first better by (95 %)", "p"]))
        results[name] = rows
    save("idea-worlds", {"seeds": options.seeds, "clips": [TRAINED, TESTED], **results}, keep_others=True)


def _cells(row: dict) -> list[object]:
    def interval(values: Sequence[float], sign: str) -> str:
        value, low, high = (format(one, f"{sign}.3f") for one in values)
        return f"{value} ({low} to {high})"

    cells: list[object] = [row["side"], interval(row["spearman"], "")]
    return [*cells, interval(row["first_better_by"], "+"), row["p"]] if "p" in row else [*cells, "", ""]


if __name__ == "__main__":
    main()
