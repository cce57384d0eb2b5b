"""What the page shows of single clips when one is looked at: skeleton, evidence, film; and the checks' pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from models.virality.pose_sampling import LeadPose
from models.virality.vdv import Vdv
from pipeline.core import storage
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.dataset.assemble import read_faces
from pipeline.features.reader import ShardReader
from pipeline.metrics.ranking import percentile_within
from pipeline.modalities.face import FaceRows
from pipeline.modalities.pose import PoseRows, read_lead
from pipeline.modalities.record import ModalityRows
from pipeline.modalities.scene import SceneRows
from pipeline.modalities.tracks import lead_of
from pipeline.report import checks as samples
from pipeline.report import evidence as attributed
from pipeline.report import preview as skeletons
from pipeline.report.contents import Found
from pipeline.report.film import Pictures, Subject, failures, film
from pipeline.report.page_file import MEDIA_BLOCK
from pipeline.report.selection import ends_first, to_check

_KEY_SHARE = 0.6  # of the skeletons' frames, for the clips that evidence is shown of


@dataclass(frozen=True)
class Choice:
    """Rows of the clips that more is shown of."""

    evidence: list[int]
    film: list[int]
    check: list[int]


@dataclass(frozen=True)
class Media:
    entries: dict[int, dict]  # by row; clips without one have nothing to show
    checks: list[dict]
    lost: Mapping[str, int] = field(default_factory=dict)  # clips whose film could not be had, by code
    blind: bool = False  # pictures are left out: nothing trained looked for heads


def choose(found: Found, films: int, with_pictures: bool) -> Choice:
    clips = found.clips
    challenge, percentile = clips["challenge"].to_numpy(str), percentile_within(clips["score"], clips["challenge"])
    ends = ends_first(challenge, percentile)
    check = to_check(clips, found.modalities, found.run["seed"])
    decoded = set(np.flatnonzero(clips["status"] != "failed").tolist())
    shown = list(dict.fromkeys([*check, *ends]))[:films] if with_pictures and films else []
    return Choice(ends[: attributed.CLIPS], [row for row in shown if row in decoded], check)


def make_media(
    workspace: str,
    dataset_dir: str,
    found: Found,
    model: Vdv,
    device: torch.device,
    faces: str,
    films: int,
    uris: Mapping[str, str],
    sampling: SamplingOptions,
    limits: DecodeLimits,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Media:
    """Reads every clip's poses once, and decodes the clips chosen for pictures.

    Args:
        model: the run's.
        faces: blur, none (no pictures at all) or show.
        films: clips that get one at most.
        uris: by clip_id; a clip without one has no pictures.
        progress: called with clips whose pictures are made and such clips in all.
    """
    blind = faces == "blur" and not _heads_known(found)
    choice = choose(found, films, with_pictures=faces != "none" and not blind)
    pictured = {*choice.film, *choice.check}
    entries, poses = _skeletons(workspace, found, model, device, choice, pictured)
    others = {name: _rows(workspace, found, name, pictured, crops=faces != "none") for name in ("face", "scene")}
    subjects = [
        _subject(found.clips, row, uris, poses.get(row), others["face"].get(row), row in choice.check)
        for row in choice.film
        if str(found.clips["clip_id"].iat[row]) in uris
    ]
    by_row: dict[int, Pictures] = {}
    for one in film(subjects, sampling, limits, workers, faces == "blur"):
        by_row[one.row] = one
        if one.film is not None:
            entries.setdefault(one.row, _NOTHING | {})["film"] = one.film
        if progress:
            progress(len(by_row), len(subjects))
    leads = read_faces(workspace, dataset_dir)
    names = _scene_names(workspace, found)
    checks = []
    for row in choice.check:
        face, scene = others["face"].get(row), others["scene"].get(row)
        assert face is None or isinstance(face, FaceRows)
        assert scene is None or isinstance(scene, SceneRows)
        of_lead = leads.get(str(found.clips["clip_id"].iat[row]), np.zeros(0, np.int64))
        told = samples.check(poses.get(row), face, scene, names, of_lead, "none" if blind else faces)
        seen = by_row.get(row)
        shown = seen is not None and seen.picture is not None
        checks.append(
            {
                "clip": row,
                "picture": seen.picture if seen else None,
                **told,
                "second": seen.picture_s if seen and shown else None,
            }
        )
    return Media(entries, checks, failures(by_row.values()), blind)


_NOTHING = {"fps": skeletons.FPS, "joints": "", "aspect": 1.0, "evidence": None, "film": None}


def blocks(entries: Mapping[int, dict], clips: int) -> list[dict[str, dict]]:
    """MEDIA_BLOCK clips a block, in their order: the entries of those that have one, by the clip's index as text."""
    found: list[dict[str, dict]] = [{} for _ in range(-(-clips // MEDIA_BLOCK))]
    for row in sorted(entries):
        found[row // MEDIA_BLOCK][str(row)] = entries[row]
    return found


def _heads_known(found: Found) -> bool:
    """Whether a network that was trained looked for faces or for people."""
    return any(name in found.modalities and name not in found.statistics["untrained"] for name in ("pose", "face"))


def _skeletons(
    workspace: str, found: Found, model: Vdv, device: torch.device, choice: Choice, pictured: set[int]
) -> tuple[dict[int, dict], dict[int, PoseRows]]:
    """The clips' entries, without film, and the poses of those that pictures are made of."""
    if "pose" not in found.modalities:
        return {}, {}
    key = set(choice.evidence)
    seconds = found.clips["duration_s"].to_numpy(float, na_value=0.0)
    there = set(np.flatnonzero(found.clips["shard_pose"].notna()).tolist())
    of_key, of_others = ([seconds[row] for row in sorted(there) if (row in key) == one] for one in (True, False))
    share = _KEY_SHARE if of_others else 1.0
    fast = skeletons.pace(of_key, int(share * skeletons.FRAMES))
    slow = skeletons.pace(of_others, int((1 - share) * skeletons.FRAMES)) if of_others else fast
    previews: dict[int, skeletons.Preview] = {}
    dancers: list[tuple[int, LeadPose]] = []
    poses: dict[int, PoseRows] = {}
    for row, pose in iterate(workspace, found.clips, "pose", sorted(there)):
        assert isinstance(pose, PoseRows)
        if row in pictured:
            poses[row] = pose
        shown = skeletons.preview(
            lead_of(pose.tracks), pose.grid, fast if row in key else slow, model.config.min_joint_score
        )
        if shown is not None:
            previews[row] = shown
            if row in key and "pose" in model.modalities:
                dancers.append((row, read_lead(pose.tracks, pose.grid.timestamp, model.config)))
    entries = {row: one.entry() | {"evidence": None, "film": None} for row, one in previews.items()}
    for row, one in attributed.evidence(model, dancers, device):
        entries[row]["evidence"] = one.entry(previews[row].seconds)
    return entries, poses


def iterate(
    workspace: str, clips: pd.DataFrame, modality: str, rows: Sequence[int], crops: bool = False
) -> Iterator[tuple[int, ModalityRows]]:
    """(row, its rows) of those of the clips that have some, a shard after the other."""
    column = clips[f"shard_{modality}"]
    by_shard: dict[str, list[int]] = {}
    for row in rows:
        if not pd.isna(column.iat[row]):
            by_shard.setdefault(str(column.iat[row]), []).append(row)
    for shard, members in by_shard.items():
        reader = ShardReader(storage.join(workspace, shard))
        for row in members:
            clip_id = str(clips["clip_id"].iat[row])
            if clip_id in reader.clip_ids:  # made anew since, a shard may no longer have it
                yield row, reader.read(clip_id, crops)
        reader.close()


def _scene_names(workspace: str, found: Found) -> tuple[str, ...]:
    if "scene" not in found.modalities or found.clips["shard_scene"].isna().all():
        return ()
    shards = found.clips["shard_scene"].dropna()
    reader = ShardReader(storage.join(workspace, str(shards.iloc[0])))  # one spec made all of them
    names = samples.scene_names(reader.metadata)
    reader.close()
    return names


def _rows(workspace: str, found: Found, modality: str, wanted: set[int], crops: bool) -> dict[int, ModalityRows]:
    if modality not in found.modalities:
        return {}
    return dict(iterate(workspace, found.clips, modality, sorted(wanted), crops))


def _subject(
    clips: pd.DataFrame,
    row: int,
    uris: Mapping[str, str],
    pose: PoseRows | None,
    faces: ModalityRows | None,
    check: bool,
) -> Subject:
    assert faces is None or isinstance(faces, FaceRows)
    clip_id, duration_s = str(clips["clip_id"].iat[row]), float(clips["duration_s"].iat[row])
    at = samples.moment(pose, duration_s) if check else None
    return Subject(row, clip_id, uris[clip_id], duration_s, pose, faces, at)
