"""Feedback on one clip of a run: the comparison with its references, in words, as JSON and as a film.

runs/<id>/feedback/<clip>.json    the differences, the references, the limits of both
runs/<id>/feedback/<clip>.mp4     the two skeletons side by side
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from models.virality.config import VdvConfig
from models.virality.pose_sampling import scoring_input
from models.virality.skeleton import Posture
from pipeline.core import storage
from pipeline.core.errors import DataError
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.rows import RowReader, read_usual
from pipeline.features.reader import ShardReader
from pipeline.feedback.alignment import align_reference
from pipeline.feedback.attribution import integrated_gradients, segment_seconds
from pipeline.feedback.edits import EditEffect, PoseScorer, edit_effect, median_positions
from pipeline.feedback.film import WHOLE_BODY, Highlight, draw_film
from pipeline.feedback.findings import MIN_LOSS, WINDOW_S, Finding, measure_limbs, select_findings, window_bounds
from pipeline.feedback.motion import AlignedReference, Motion, limb_joints, to_motion
from pipeline.feedback.references import MIN_FITTING, choose_references
from pipeline.feedback.timing import BeatFinding, find_off_beat
from pipeline.files.checksums import json_bytes
from pipeline.modalities.pose import PoseRows, read_lead
from pipeline.modalities.synchrony import SynchronyRows
from pipeline.music.synchrony import Synchrony
from pipeline.runs.run import FEEDBACK, Run
from pipeline.runs.train import load_run

FEEDBACK_SCHEMA = 2
_NO_GAIN = 0.01  # of the score's own scale: less is nothing
_CAUTION = (
    "What differs from the top clips is associated with the model's score; that changing it would bring likes is not"
    " known."
)


@dataclass(frozen=True)
class ExplainedFinding:
    """One finding, with the model's response to it."""

    finding: Finding
    edit: EditEffect
    gradient_share: float  # share of the clip's integrated gradients, sign included, that lies in this limb and time

    @property
    def sentence(self) -> str:
        """As in: right arm, 3.2-4.1 s: 0.3 s late, amplitude 60 % of the top clips'."""
        finding = self.finding
        limb = finding.limb.replace("_", " ")
        parts = []
        if finding.kind in ("late", "early"):
            parts.append(f"{abs(finding.lag_s):.1f} s {finding.kind} against the rest of the body")
        if finding.kind == "unsteady":
            parts.append(f"sways {finding.sway:.1f} times as far as the top clips do from one another")
        elif finding.kind == "small" or finding.amplitude <= 1 - MIN_LOSS:
            parts.append(f"amplitude {100 * finding.amplitude:.0f} % of the top clips'")
        return f"{limb}, {finding.start_s:.1f}-{finding.end_s:.1f} s: {', '.join(parts)}"

    @property
    def meaning(self) -> str:
        """The model's response in words, which is an association and no promise."""
        gain, agreement, references = self.edit.gain, self.edit.agreement, self.edit.references
        if math.isnan(gain):
            return "no top clip covers this stretch as a whole, so what the model makes of it is not known"
        if gain > _NO_GAIN and agreement > 0.5:
            return (
                "associated with a lower score: with the motion of a top clip there the pose's part of the score is"
                f" {gain:.2f} higher (median; higher with {round(agreement * references)} of {references} top clips)"
            )
        return "this run's model does not score it lower"


@dataclass(frozen=True)
class ClipComparison:
    """A clip compared with its references. All is empty where the dancer is seen for less than WINDOW_S."""

    motion: Motion | None = None
    aligned: tuple[AlignedReference, ...] = ()
    findings: tuple[ExplainedFinding, ...] = ()  # the strongest first

    @property
    def fitting(self) -> int:
        """How many references fit the clip."""
        return len({alignment.reference for alignment in self.aligned})

    @property
    def comparable(self) -> bool:
        return self.fitting >= MIN_FITTING


@dataclass(frozen=True)
class ClipFeedback:
    """Feedback on a clip, and the paths of its files."""

    comparison: ClipComparison
    off_beat: tuple[BeatFinding, ...]  # in order of time; none: on the beat, or not known
    references: tuple[str, ...]  # clip ids
    json_path: str
    film_path: str


def write_feedback(run_folder: Run, clip_id: str, device: torch.device) -> ClipFeedback:
    """Compare a clip with its references and write both files.

    Raises:
        OptionError, DataError: as choose_references; and DataError where the dancer is seen for too short a time, or
            where too few of the references dance what the clip does.
    """
    chosen = choose_references(run_folder, clip_id)
    model, run = load_run(run_folder, device)
    posture, *references = (
        read_posture(run_folder.workspace, chosen.clips, row, model.config) for row in (chosen.row, *chosen.references)
    )
    comparison = compare_clip(posture, references, PoseScorer(model, device))
    if comparison.motion is None:
        raise DataError(f"clip {clip_id} shows the dancer for less than {WINDOW_S:.0f} seconds, too short to compare")
    if not comparison.comparable:
        raise DataError(
            f"{comparison.fitting} of the {len(references)} best clips of the challenge fit clip {clip_id}; feedback"
            f" needs {MIN_FITTING}. It may show another dance than they do, or too little of it"
        )
    rows = RowReader(
        run_folder.workspace, chosen.clips, read_usual(DatasetFolder.of(run_folder.workspace, run["dataset"]))
    )
    synchrony, *others = (read_synchrony(rows, row) for row in (chosen.row, *chosen.references))
    off_beat = tuple(find_off_beat(synchrony, others))
    entries = [*map(_entry, comparison.findings), *map(_beat_entry, off_beat)]
    entries.sort(key=lambda entry: -entry["strength"])
    reference_ids = tuple(chosen.clips["clip_id"].iloc[row] for row in chosen.references)
    content = {
        "schema": FEEDBACK_SCHEMA,
        "clip": clip_id,
        "run": run_folder.id,
        "challenge": chosen.clips["challenge"].iloc[chosen.row],
        "references": list(reference_ids),
        "fitting": comparison.fitting,
        "untrained": bool(run["untrained"]),
        "findings": entries,
        "summary": entries[0]["sentence"] if entries else "nothing stands out",
        "caution": _CAUTION,
    }
    base = run_folder.file(FEEDBACK, clip_id)
    highlights = [Highlight(*(entry[name] for name in ("limb", "start_s", "end_s", "sentence"))) for entry in entries]
    with storage.staged(f"{base}.mp4") as path:
        draw_film(path, comparison.motion, median_positions(comparison.motion, comparison.aligned), highlights)
    storage.write_bytes(f"{base}.json", json_bytes(f"{base}.json", content, ascii_only=False))
    return ClipFeedback(comparison, off_beat, reference_ids, f"{base}.json", f"{base}.mp4")


def compare_clip(posture: Posture, references: Sequence[Posture], scorer: PoseScorer) -> ClipComparison:
    """Comparison of a clip with references."""
    motion = to_motion(posture)
    if motion is None or motion.seconds[-1] - motion.seconds[0] < WINDOW_S:
        return ClipComparison()
    motions = [to_motion(reference) for reference in references]
    aligned = tuple(
        alignment
        for number, reference in enumerate(motions)
        if reference is not None
        for alignment in align_reference(reference, number, motion)
    )
    unexplained = ClipComparison(motion, aligned)
    if not unexplained.comparable:
        return unexplained
    findings = select_findings(measure_limbs(motion, aligned), window_bounds(motion))
    if not findings:
        return unexplained
    effects = [
        edit_effect(posture, motion, aligned, finding.limb, finding.start_s, finding.end_s, scorer)
        for finding in findings
    ]
    shares = gradient_shares(posture, findings, scorer)
    return ClipComparison(motion, aligned, tuple(map(ExplainedFinding, findings, effects, shares)))


def gradient_shares(posture: Posture, findings: Sequence[Finding], scorer: PoseScorer) -> list[float]:
    """By finding: sum of the integrated gradients of its joints and time, over the sum of all absolute ones."""
    pose = scoring_input([posture], scorer.config, scorer.device)
    gradients = integrated_gradients(scorer.model, pose)[0].cpu().numpy()
    seconds, joints = segment_seconds(posture, scorer.config), limb_joints()
    total = float(np.abs(gradients).sum()) or 1.0
    shares = []
    for finding in findings:
        inside = (seconds >= finding.start_s) & (seconds <= finding.end_s)
        members = [joint for joint in joints[finding.limb] if joint < gradients.shape[1]]
        shares.append(float(gradients[inside][:, members].sum()) / total)
    return shares


def read_posture(workspace: str, clips: pd.DataFrame, row: int, config: VdvConfig) -> Posture:
    """The lead dancer of a clip of the dataset.

    Raises:
        DataError: nobody was found in the clip.
    """
    reader = ShardReader(storage.join(workspace, str(clips["shard_pose"].iloc[row])))
    rows = reader.read(str(clips["clip_id"].iloc[row]))
    reader.close()
    assert isinstance(rows, PoseRows)
    posture = read_lead(rows.tracks, rows.grid.timestamp, config).posture
    if posture is None:
        raise DataError(f"clip {clips['clip_id'].iloc[row]} has no skeleton: nobody was found in it")
    return posture


def read_synchrony(rows: RowReader, row: int) -> Synchrony | None:
    """A clip's synchrony, against the usual lag of its challenge; None: the run knows of none, or the clip has none."""
    derived = rows.read(row, "synchrony")
    return derived.synchrony if isinstance(derived, SynchronyRows) else None


def _entry(explained: ExplainedFinding) -> dict:
    finding, edit = explained.finding, explained.edit
    return {
        "sentence": explained.sentence,
        "meaning": explained.meaning,
        "limb": finding.limb,
        "kind": finding.kind,
        "start_s": round(finding.start_s, 2),
        "end_s": round(finding.end_s, 2),
        "strength": round(finding.strength, 2),
        "late_s": round(finding.lag_s, 2),
        "amplitude": round(finding.amplitude, 2),
        "sway": _finite(finding.sway),
        "edit": {"gain": _finite(edit.gain), "agreement": _finite(edit.agreement), "references": edit.references},
        "integrated_gradients_share": _finite(explained.gradient_share),
    }


def _beat_entry(finding: BeatFinding) -> dict:
    return {
        "sentence": finding.sentence,
        "meaning": finding.meaning,
        "limb": WHOLE_BODY,
        "kind": finding.kind,
        "start_s": round(finding.start_s, 2),
        "end_s": round(finding.end_s, 2),
        "strength": round(finding.strength, 2),
        "late_s": round(finding.lag_s, 3),
        "late_error_s": round(finding.lag_error_s, 3),
        "usual_s": round(finding.limit_s, 3),
    }


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
