"""Accuracy of feedback: planted faults found, perfect clips left alone, edits and gradients compared with chance.

    python -m benchmarks.feedback --folder FOLDER --run-workspace WORKSPACE --run RUN      # renders and extracts there

Scores are the pose's part of a finished run's score, the demo's for example. With --data PATH the edits are also
held against UI-PRMD, where it is known which limbs a movement is about.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.common import save, table
from benchmarks.feedback_prmd import limbs_of_movements
from benchmarks.feedback_world import Judged, extract_poses, judged_of, references_of, render
from models.virality.config import VdvConfig
from models.virality.inputs import ModalityInput
from models.virality.pose_sampling import scoring_input
from models.virality.skeleton import Posture
from models.virality.vdv import Vdv
from pipeline.dataset.folder import DatasetFolder
from pipeline.feedback.attribution import integrated_gradients, mean_pose, segment_seconds
from pipeline.feedback.clip_feedback import ClipComparison, compare_clip, read_posture
from pipeline.feedback.edits import PoseScorer, apply_change, covered_share, median_change
from pipeline.feedback.findings import Finding
from pipeline.feedback.motion import LIMBS, AlignedReference, Motion, limb_joints
from pipeline.runs.run import Run
from pipeline.runs.runs import find_run
from pipeline.runs.train import load_run
from simulation.script import Fault

CPU = torch.device("cpu")
SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of joints x frames, or limbs x windows, in the curves
CONTROLS = 5  # random orders a clip
WINDOW_S = 1.0


@dataclass(frozen=True)
class Clip:
    judged: Judged
    posture: Posture
    comparison: ClipComparison


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the clips lie or will lie")
    parser.add_argument("--run-workspace", required=True, help="of the run whose model scores")
    parser.add_argument("--run", required=True, help="its name or id")
    parser.add_argument("--seed", type=int, default=2002, help="the rules were chosen on 500-503, 2000 and 2001")
    parser.add_argument("--faulty", type=int, default=100)
    parser.add_argument("--perfect", type=int, default=50)
    parser.add_argument("--references", type=int, default=8, help="of each dance")
    parser.add_argument("--curves", type=int, default=40, help="faulty clips that the curves are drawn of")
    parser.add_argument("--workers", type=int, default=1, help="clips rendered side by side")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--data", type=Path, help="ui_prmd_kinect.npz")
    options = parser.parse_args()
    results: dict = {"seed": options.seed}

    run = Run.of("", find_run(options.run_workspace, options.run)).place
    model, _ = load_run(Run(options.run_workspace, run), CPU)
    scorer = PoseScorer(model, CPU)
    clips = list(compared_clips(options, scorer))
    results["faults"] = faults(clips, scorer)
    print_faults(results["faults"])
    some = [clip for clip in clips if clip.judged.fault and clip.comparison.comparable][: options.curves]
    results["curves"] = curves(some, scorer)
    print_curves(results["curves"])
    if options.data:
        results["ui_prmd"] = limbs_of_movements(options.data)
        print(table([list(row.values()) for row in results["ui_prmd"]["movements"]],
                    list(results["ui_prmd"]["movements"][0])))  # fmt: skip
        print(
            f"the limb that the movement is about: {results['ui_prmd']['right']:.3f} of "
            f"{results['ui_prmd']['episodes']} incorrect episodes, by chance {results['ui_prmd']['chance']:.3f}; of"
            f" arms and legs alone {results['ui_prmd']['right_of_arm_and_leg']:.3f}, by chance 0.5"
        )
    save("feedback", results)


def compared_clips(options: argparse.Namespace, scorer: PoseScorer) -> Iterator[Clip]:
    """Rendered, extracted by the real pose network, and held against the references of their dance."""
    references, judged = (
        references_of(options.seed, options.references),
        judged_of(options.seed, options.faulty, options.perfect),
    )
    workspace = f"{options.folder}-workspace"
    manifest = render(
        options.folder,
        [*references, *(script for script, _ in judged)],
        options.workers,
    )
    dataset = extract_poses(manifest, workspace, options.profile)
    clips = DatasetFolder(workspace, dataset).read_clips()
    row_of = {name: row for row, name in enumerate(clips["clip_id"])}

    def posture(clip_id: str) -> Posture:
        return read_posture(workspace, clips, row_of[clip_id], scorer.config)

    good: dict[str, list[Posture]] = {}
    for script in references:
        good.setdefault(script.dance, []).append(posture(script.clip_id))
    for _, clip in judged:
        seen = posture(clip.clip_id)
        yield Clip(clip, seen, compare_clip(seen, good[clip.dance], scorer))


def faults(clips: list[Clip], scorer: PoseScorer) -> dict:
    """Named first: the limb is right and the windows overlap.

    Beside it, how often the edit that gains most is of that limb and time: what the model alone would name.
    """
    kinds: dict[str, Counter] = {}
    clips_of = []
    for clip in clips:
        fault, findings = clip.judged.fault, clip.comparison.findings
        kind = fault.kind if fault else "perfect"
        count = kinds.setdefault(kind, Counter())
        first = findings[0].finding if findings else None
        if fault is None:
            right = not findings
        else:
            right = any(_is(explained.finding, fault) for explained in findings[:1])
            count["anywhere"] += any(_is(explained.finding, fault) for explained in findings)
            count["kind"] += right and first is not None and first.kind == fault.kind
            count["gains"] += right and findings[0].edit.gain > 0
            count["others"] += sum(not _is(explained.finding, fault) for explained in findings)
            count["best edit"] += clip.comparison.comparable and _best_edit_is(clip, fault, scorer)
        count["of"] += 1
        count["right"] += right
        count["not comparable"] += not clip.comparison.comparable
        named = [first.limb, first.kind, round(first.start_s, 2), round(first.end_s, 2)] if first else None
        planted = [fault.limb, fault.kind, fault.start_s, fault.end_s, round(fault.size, 3)] if fault else None
        clips_of.append({"clip": clip.judged.clip_id, "dance": clip.judged.dance, "planted": planted, "named": named})
    planted_of = [count for kind, count in kinds.items() if kind != "perfect"]
    shares = {kind: dict(count) for kind, count in kinds.items()}
    return {
        "named_first": sum(count["right"] for count in planted_of) / max(1, sum(count["of"] for count in planted_of)),
        "perfect_left_alone": kinds["perfect"]["right"] / kinds["perfect"]["of"] if "perfect" in kinds else None,
        "kinds": shares,
        "clips": clips_of,
    }


def _is(finding: Finding, fault: Fault) -> bool:
    return finding.limb == fault.limb and finding.start_s < fault.end_s and finding.end_s > fault.start_s


def _best_edit_is(clip: Clip, fault: Fault, scorer: PoseScorer) -> bool:
    windows, gains = _gains(clip, scorer)
    if not np.isfinite(gains).any():
        return False
    limb, window = np.unravel_index(np.nanargmax(gains), gains.shape)
    start, end = windows[window]
    return bool(LIMBS[limb] == fault.limb and start < fault.end_s and end > fault.start_s)


def _gains(clip: Clip, scorer: PoseScorer) -> tuple[np.ndarray, np.ndarray]:
    """Windows [W, 2], one after the other, and what the top clips' motion would gain there [limbs, W]."""
    motion, aligned = clip.comparison.motion, clip.comparison.aligned
    assert motion is not None
    starts = np.arange(motion.seconds[0], motion.seconds[-1] - WINDOW_S, WINDOW_S)
    windows = np.stack([starts, starts + WINDOW_S], 1)
    return windows, gain_map(clip.posture, motion, aligned, windows, scorer)


def gain_map(
    posture: Posture, motion: Motion, aligned: Sequence[AlignedReference], windows: np.ndarray, scorer: PoseScorer
) -> np.ndarray:
    """float64 [limbs, W] gain of the score by the median change of each limb in each window; NaN where not known."""
    postures, cells = [posture], []
    for row, limb in enumerate(LIMBS):
        change = median_change(motion, aligned, limb)
        for column, (start, end) in enumerate(windows):
            if covered_share(motion, change, limb, start, end) > 0.5:
                postures.append(apply_change(posture, motion, change, limb, start, end))
                cells.append((row, column))
    scores = scorer.scores(postures)
    gains = np.full((len(LIMBS), len(windows)), np.nan)
    for (row, column), score in zip(cells, scores[1:], strict=True):
        gains[row, column] = score - scores[0]
    return gains


def print_faults(faults: dict) -> None:
    columns = ("of", "right", "anywhere", "kind", "gains", "best edit", "others", "not comparable")
    print(table([[kind, *(count.get(name, 0) for name in columns)] for kind, count in faults["kinds"].items()],
                ["planted", "clips", "right first", "right anywhere", "and its kind", "and the edit gains",
                 "best edit is there", "other findings", "not comparable"]))  # fmt: skip
    print(f"named first: {faults['named_first']:.3f} (at least 0.8); perfect clips left alone: "
          f"{faults['perfect_left_alone']:.3f} (at least 0.9)")  # fmt: skip


def curves(clips: list[Clip], scorer: PoseScorer) -> dict:
    """Mean over clips of the area under each curve, in units of the score, by the order and by chance."""
    rows: dict[str, list[float]] = {}
    for place, clip in enumerate(clips):
        rng = np.random.default_rng(place)
        for name, value in _of_clip(clip, scorer, rng).items():
            rows.setdefault(name, []).append(value)
    areas: dict = {"clips": len(clips)}
    for name in ("deletion", "insertion", "edits"):
        less = np.array(rows[name]) - np.array(rows[f"{name}_chance"])
        draws = np.random.default_rng(0).choice(less, (2000, len(less))).mean(1)
        areas[name] = {
            "ordered": float(np.mean(rows[name])),
            "chance": float(np.mean(rows[f"{name}_chance"])),
            "difference": [float(less.mean()), *(float(end) for end in np.percentile(draws, [2.5, 97.5]))],
        }
    agreement = np.array(rows["agreement"])
    areas["agreement"] = {"spearman": float(np.nanmean(agreement)), "above_0": float((agreement > 0).mean())}
    return areas


def print_curves(curves: dict) -> None:
    rows = [[name, curves[name]["ordered"], curves[name]["chance"], *curves[name]["difference"]]
            for name in ("deletion", "insertion", "edits")]  # fmt: skip
    print(table(rows, ["area under the curve", "ordered", "random joints", "difference", "low", "high"]))
    print(f"edits and integrated gradients, Spearman over limbs x windows: {curves['agreement']['spearman']:.3f}, above"
          f" 0 in {curves['agreement']['above_0']:.2f} of {curves['clips']} clips")  # fmt: skip


def _of_clip(clip: Clip, scorer: PoseScorer, rng: np.random.Generator) -> dict[str, float]:
    pose = scoring_input([clip.posture], scorer.config, CPU)
    gradients = integrated_gradients(scorer.model, pose)[0]
    seen = pose.mask[0].any(0).flatten()
    ordered = gradients.flatten().masked_fill(~seen, -torch.inf).argsort(descending=True)[: int(seen.sum())]
    areas: dict[str, float] = {}
    places = seen.nonzero().flatten()
    chance = [places[torch.from_numpy(rng.permutation(len(places)))] for _ in range(CONTROLS)]
    for name, insert in (("deletion", False), ("insertion", True)):
        values = [_area(_replaced(pose, order, scorer.model, insert)) for order in (ordered, *chance)]
        areas[name], areas[f"{name}_chance"] = values[0], float(np.mean(values[1:]))

    windows, gains = _gains(clip, scorer)
    known = np.argwhere(np.isfinite(gains))
    best = known[np.argsort(-gains[tuple(known.T)])]
    values = [_area(_put_in(clip, windows, order, scorer))
              for order in (best, *(rng.permutation(known) for _ in range(CONTROLS)))]  # fmt: skip
    areas["edits"], areas["edits_chance"] = values[0], float(np.mean(values[1:]))
    areas["agreement"] = _agreement(clip, gradients, gains, windows, scorer.config)
    return areas


def _replaced(pose: ModalityInput, order: Tensor, model: Vdv, insert: bool) -> np.ndarray:
    """Scores with more and more joints x frames in the mean pose, the first of the order first; or taken back out."""
    still = mean_pose(torch.where(pose.mask[:, :, None], pose.values, 0.0), pose.mask)
    versions = []
    for share in SHARES:
        chosen = torch.zeros(pose.mask[0, 0].numel(), dtype=torch.bool)
        chosen[order[: round(share * len(order))]] = True
        at = chosen.view(pose.mask.shape[2:])
        versions.append(torch.where(at if insert else ~at, pose.values, still))
    values = torch.cat(versions)
    with torch.inference_mode():
        mask = pose.mask.expand(len(values), -1, -1, -1)
        return model.part_at_usual_quality("pose", values, mask, still=True).numpy()


def _put_in(clip: Clip, windows: np.ndarray, order: np.ndarray, scorer: PoseScorer) -> np.ndarray:
    """Scores less the clip's own with the top clips' motion in more and more limbs x windows."""
    motion, aligned = clip.comparison.motion, clip.comparison.aligned
    assert motion is not None
    changes = {limb: median_change(motion, aligned, limb) for limb in LIMBS}
    postures, posture, done = [], clip.posture, 0
    for share in SHARES:
        for limb, window in order[done : round(share * len(order))]:
            posture = apply_change(posture, motion, changes[LIMBS[limb]], LIMBS[limb], *windows[window])
        done = round(share * len(order))
        postures.append(posture)
    scores = scorer.scores(postures)
    return scores - scores[0]


def _area(scores: np.ndarray) -> float:
    return float(np.trapezoid(scores, SHARES))


def _agreement(clip: Clip, gradients: Tensor, gains: np.ndarray, windows: np.ndarray, config: VdvConfig) -> float:
    """Spearman of what an edit gains and how little the gradients give the same limb and window."""
    seconds, joints = segment_seconds(clip.posture, config), limb_joints()
    shares = np.full(gains.shape, np.nan)
    for row, limb in enumerate(LIMBS):
        members = [joint for joint in joints[limb] if joint < gradients.shape[1]]
        for column, (start, end) in enumerate(windows):
            inside = (seconds >= start) & (seconds < end)
            shares[row, column] = gradients.numpy()[inside][:, members].sum()
    known = np.isfinite(gains)
    return float(spearmanr(gains[known], -shares[known]).statistic)


if __name__ == "__main__":
    main()
