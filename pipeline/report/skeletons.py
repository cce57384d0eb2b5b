"""Small moving skeletons of the lead dancers, and evidence for their scores: when, and at which joints."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.virality.inputs import ModalityInput, pad
from models.virality.pose_sampling import LeadPose, sample_poses
from models.virality.vdv import Vdv
from pipeline.feedback.attribution import integrated_gradients, segment_seconds
from pipeline.modalities.pose import PoseRows, read_lead
from pipeline.modalities.record import Grid
from pipeline.modalities.tracks import Track, lead_of
from pipeline.report.run_contents import RunContents, read_rows
from pipeline.report.values import Pace, pace, packed

FPS = 5.0  # at most
LEAST_FPS = 2.0  # below, the motion falls apart: rather a shorter piece of the clip
FRAMES = 130_000  # in the whole page: 51 bytes each, a third more as base64, are 9 MB
STEPS = 8  # of the integral. What is drawn is a colour, not a sum: over time it correlates 0.99 with 64 steps
_EVIDENCE_SHARE = 0.6  # of FRAMES, for the clips with evidence
_MARGIN = 0.03  # of the box, around what is seen
_STRAYS = 0.5  # per cent at each end that do not stretch the box: a wild key point would shrink the dancer
_BATCH = 16


@dataclass(frozen=True)
class Preview:
    """T frames, evenly spaced from the clip's start."""

    fps: float
    joints: np.ndarray  # uint8 [T, 17, 3] x, y in the box, 255 where the joint is seen
    aspect: float  # width of the box over its height
    seconds: np.ndarray  # float64 [T]

    def entry(self) -> dict:
        return {"fps": self.fps, "joints": packed(self.joints), "aspect": self.aspect}


@dataclass(frozen=True)
class Evidence:
    """Attributions of one clip's score, over S segments of the clip."""

    time: np.ndarray  # float64 [S] summed over joints
    joint: np.ndarray  # float64 [17] summed over time
    seconds: np.ndarray  # float64 [S] of `time`

    def entry(self, seconds: np.ndarray) -> dict:
        """Values at these moments; `time` and `joint` are each scaled by their largest."""
        return {"time": _scaled(np.interp(seconds, self.seconds, self.time)), "joint": _scaled(self.joint)}


def make_skeletons(
    workspace: str,
    contents: RunContents,
    model: Vdv,
    device: torch.device,
    with_evidence: Sequence[int],
    keep_poses: set[int],
    see: Callable[[int, PoseRows], None],
) -> tuple[dict[int, dict], dict[int, PoseRows]]:
    """Reads every clip's poses once.

    Args:
        model: the run's.
        with_evidence: rows of the clips that get evidence, and the larger share of the page's frames.
        keep_poses: rows of the clips whose poses are returned.
        see: called with each clip's row and poses.

    Returns:
        The page's entries by row, without film, and poses by row.
    """
    if "pose" not in contents.modalities:
        return {}, {}
    rows = np.flatnonzero(contents.clips["shard_pose"].notna()).tolist()
    key = set(with_evidence)
    fast, slow = _paces(contents.clips["duration_s"].to_numpy(float, na_value=0.0), rows, key)
    previews: dict[int, Preview] = {}
    dancers: list[tuple[int, LeadPose]] = []
    poses: dict[int, PoseRows] = {}
    for row, pose in read_rows(workspace, contents.clips, "pose", rows):
        assert isinstance(pose, PoseRows)
        see(row, pose)
        if row in keep_poses:
            poses[row] = pose
        shown = preview(lead_of(pose.tracks), pose.grid, fast if row in key else slow, model.config.min_joint_score)
        if shown is not None:
            previews[row] = shown
            if row in key and "pose" in model.modalities:
                dancers.append((row, read_lead(pose.tracks, pose.grid.timestamp, model.config)))
    entries = {row: shown.entry() | {"evidence": None, "film": None, "music": None} for row, shown in previews.items()}
    for row, evidence in attribute_scores(model, dancers, device):
        entries[row]["evidence"] = evidence.entry(previews[row].seconds)
    return entries, poses


def _paces(seconds: np.ndarray, rows: Sequence[int], key: set[int]) -> tuple[Pace, Pace]:
    """Paces of the clips with evidence, and of the others."""
    of_key, of_others = ([seconds[row] for row in rows if (row in key) == wanted] for wanted in (True, False))
    share = _EVIDENCE_SHARE if of_others else 1.0
    fast = pace(of_key, int(share * FRAMES), FPS, LEAST_FPS)
    return fast, pace(of_others, int((1 - share) * FRAMES), FPS, LEAST_FPS) if of_others else fast


def preview(track: Track | None, grid: Grid, pace: Pace, min_score: float) -> Preview | None:
    """The lead dancer's frames at this pace; None: the clip has no lead dancer, or none of the joints is ever seen.

    min_score: a joint below it counts as not seen.
    """
    if track is None or not track.valid.any():
        return None
    seen = track.valid[:, None] & (track.keypoints[..., 2] >= min_score) & np.isfinite(track.keypoints).all(-1)
    if not seen.any():
        return None
    times = grid.timestamp.astype(np.float64)
    count = int(min(times[-1], pace.seconds) * pace.rate) + 1
    seconds = np.arange(count) / pace.rate
    nearest = np.abs(times[None, :] - seconds[:, None]).argmin(1)
    # A frame far from its moment, in a gap of the grid, is not shown in its place.
    shown = seen[nearest] & (np.abs(times[nearest] - seconds) <= 1 / pace.rate)[:, None]
    places = track.keypoints[..., :2]
    low, high = np.percentile(places[seen], [_STRAYS, 100 - _STRAYS], axis=0)
    around = _MARGIN * (high - low).max() + 1.0
    low, high = low - around, high + around
    inside = ((places[nearest] - low) / (high - low)).clip(0, 1)
    joints = np.zeros((count, places.shape[1], 3), np.uint8)
    joints[..., :2] = np.where(shown[..., None], np.round(np.nan_to_num(inside) * 255), 0)
    joints[..., 2] = np.where(shown, 255, 0)
    width, height = high - low
    return Preview(pace.rate, joints, float(width / height), seconds)


def attribute_scores(
    model: Vdv, dancers: Sequence[tuple[int, LeadPose]], device: torch.device
) -> Iterator[tuple[int, Evidence]]:
    """Integrated gradients of the pose score, for each clip in which somebody is seen.

    dancers: with the row of each clip. model: with the modality pose, unless there are no dancers.
    """
    present = [(row, dancer) for row, dancer in dancers if dancer.posture is not None]
    for first in range(0, len(present), _BATCH):
        batch = present[first : first + _BATCH]
        inputs = pad(sample_poses([dancer for _, dancer in batch], model.config, None)).to(device)
        pose = _middle_sampling(inputs)
        gradients = integrated_gradients(model, pose, STEPS).cpu().numpy().astype(np.float64)
        for (row, dancer), parts in zip(batch, gradients, strict=True):
            assert dancer.posture is not None
            yield row, Evidence(parts.sum(1), parts.sum(0), segment_seconds(dancer.posture, model.config))


def _middle_sampling(pose: ModalityInput) -> ModalityInput:
    """One of a skeleton's samplings: a third of the work, for evidence that correlates 0.96 with that of all three."""
    middle = pose.mask.shape[1] // 2
    return pose._replace(values=pose.values[:, middle : middle + 1], mask=pose.mask[:, middle : middle + 1])


def _scaled(values: np.ndarray) -> list[float]:
    largest = np.abs(values).max(initial=0)
    # Two digits are more than a colour shows.
    return [round(float(value), 2) + 0.0 for value in (values / largest if largest > 0 else values)]
