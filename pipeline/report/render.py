"""The run's one-file HTML page: what was read, how good the scores are, who ranks where, and what each clip shows.

run_contents -> payload (quality, warnings, similarity) and media (selection, skeletons, music, film, checks)
    -> page_file
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import numpy as np
import torch

from models.virality.vdv import Vdv
from pipeline.core import storage
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.dataset.folder import DatasetFolder
from pipeline.features.reader import ShardReader
from pipeline.modalities.face import FaceRows
from pipeline.modalities.scene import SceneRows
from pipeline.report.checks import check, moment, scene_names
from pipeline.report.film import Pictures, Subject, failures, film
from pipeline.report.music import MusicReader, PageMusic, challenge_music, sound_counts
from pipeline.report.page_file import make_page, media_blocks
from pipeline.report.payload import build_payload
from pipeline.report.quality import measured_quality
from pipeline.report.run_contents import RunContents, read_rows, read_run_contents
from pipeline.report.selection import select_clips
from pipeline.report.similarity import projected
from pipeline.report.skeletons import FPS, make_skeletons
from pipeline.report.warnings import find_warnings
from pipeline.runs.run import REPORT, Run
from pipeline.runs.train import load_run
from pipeline.scoring.embeddings import read_embeddings

FILMS = 120  # clips that get one
_NOTHING = {"fps": FPS, "joints": "", "aspect": 1.0, "evidence": None, "film": None, "music": None}
R = TypeVar("R", FaceRows, SceneRows)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sources:
    """Where pictures come from, and what they may cost."""

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # uri and sha256 by clip_id; without, no film
    sampling: SamplingOptions = field(default_factory=SamplingOptions)  # the features'
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    workers: int = 1


@dataclass(frozen=True)
class Media:
    """What the page shows of single clips."""

    entries: dict[int, dict]  # by row; clips without one have nothing to show
    checks: list[dict]
    film_failures: Mapping[str, int]  # clips whose film could not be had, by code
    music: PageMusic
    no_heads: bool  # pictures are left out: no trained network looked for heads


def render(
    dataset_folder: DatasetFolder,
    run_folder: Run,
    device: torch.device,
    faces: str = "blur",
    films: int = FILMS,
    sources: Sources | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes report.html, which refers to nothing outside itself; what comes from the manifest is text in it.

    Args:
        dataset_folder: the run's own.
        faces: blur; none: no pictures, only skeletons; show.
        films: clips of which a few frames are shown at most.
        sources: None: no pictures.
        name: the run's; None: it has none.
        progress: called with clips whose pictures are made and such clips in all.
    """
    contents = read_run_contents(dataset_folder, run_folder)
    payload, media = build(
        dataset_folder, run_folder, contents, device, faces, films, sources or Sources(), name, progress
    )
    text = make_page(payload, media)
    storage.write_bytes(run_folder.file(REPORT), text.encode())


def build(
    dataset_folder: DatasetFolder,
    run_folder: Run,
    contents: RunContents,
    device: torch.device,
    faces: str,
    films: int,
    sources: Sources,
    name: str | None = None,
    progress: Progress | None = None,
) -> tuple[dict, list[dict]]:
    """The page's payload and media, as make_page takes them; the arguments are render's."""
    model, _ = load_run(run_folder, device)
    clips = len(contents.clips)
    vectors = projected(read_embeddings(dataset_folder, run_folder, device) if clips else {})
    media = make_media(dataset_folder, contents, model, device, faces, films, sources, progress)
    has_media = np.zeros(clips, bool)
    has_media[list(media.entries)] = True
    warnings = find_warnings(contents, faces, media.film_failures, media.no_heads)
    quality = measured_quality(contents) | {"warnings": [asdict(warning) for warning in warnings]}
    sound, by_challenge = sound_counts(contents, media.music), challenge_music(contents, media.music)
    payload = build_payload(contents, name, faces, vectors, media.checks, quality, has_media, sound, by_challenge)
    return payload, media_blocks(media.entries, clips)


def make_media(
    dataset_folder: DatasetFolder,
    contents: RunContents,
    model: Vdv,
    device: torch.device,
    faces: str,
    films: int,
    sources: Sources,
    progress: Progress | None = None,
) -> Media:
    """Reads every clip's poses and sound once, and decodes the clips selected for pictures. model: the run's."""
    no_heads = faces == "blur" and not _heads_known(contents)
    selection = select_clips(contents, 0 if no_heads or faces == "none" else films)
    pictured = {*selection.film, *selection.check}
    reader = MusicReader(dataset_folder, contents)
    entries, poses = make_skeletons(
        dataset_folder.workspace, contents, model, device, selection.evidence, pictured, see=reader.add
    )
    music = reader.finish()
    for row, heard in music.entries.items():
        entries.setdefault(row, dict(_NOTHING))["music"] = heard
    crops = _rows_by_clip(dataset_folder.workspace, contents, "face", FaceRows, pictured, crops=faces != "none")
    scenes = _rows_by_clip(dataset_folder.workspace, contents, "scene", SceneRows, pictured)
    clip_ids = contents.clips["clip_id"].astype(str).tolist()
    seconds = contents.clips["duration_s"].to_numpy(float, na_value=np.nan).tolist()
    subjects = [
        Subject(row, clip_ids[row], *sources.files[clip_ids[row]], seconds[row], poses.get(row), crops.get(row),
                moment(poses.get(row), seconds[row]) if row in selection.check else None)
        for row in selection.film
        if clip_ids[row] in sources.files
    ]  # fmt: skip
    pictures: dict[int, Pictures] = {}
    if progress:
        progress(0, len(subjects))
    for picture in film(subjects, sources.sampling, sources.limits, sources.workers, faces == "blur"):
        pictures[picture.row] = picture
        if picture.film is not None:
            entries.setdefault(picture.row, dict(_NOTHING))["film"] = picture.film
        if progress:
            progress(len(pictures), len(subjects))
    lead_faces = dataset_folder.read_faces()
    names, shown = _scene_names(dataset_folder.workspace, contents), "none" if no_heads else faces
    checks = []
    for row in selection.check:
        lead = lead_faces.get(clip_ids[row], np.zeros(0, np.int64))
        picture = pictures.get(row, Pictures(row))
        entry = check(poses.get(row), crops.get(row), scenes.get(row), names, lead, shown)
        second = None if picture.picture is None else picture.picture_s
        checks.append({"clip": row, "picture": picture.picture, **entry, "second": second})
    return Media(entries, checks, failures(pictures.values()), music, no_heads)


def _heads_known(contents: RunContents) -> bool:
    """Whether a trained network looked for faces or for people."""
    return any(
        name in contents.modalities and name not in contents.statistics["untrained"] for name in ("pose", "face")
    )


def _rows_by_clip(
    workspace: str, contents: RunContents, modality: str, kind: type[R], wanted: set[int], crops: bool = False
) -> dict[int, R]:
    """Features of one modality by row, of those of the wanted clips that have some."""
    if modality not in contents.modalities:
        return {}
    rows = read_rows(workspace, contents.clips, modality, sorted(wanted), crops)
    return {row: features for row, features in rows if isinstance(features, kind)}


def _scene_names(workspace: str, contents: RunContents) -> tuple[str, ...]:
    if "scene" not in contents.modalities or contents.clips["shard_scene"].isna().all():
        return ()
    shards = contents.clips["shard_scene"].dropna()
    reader = ShardReader(storage.join(workspace, str(shards.iloc[0])))  # all shards name the same categories
    names = scene_names(reader.metadata)
    reader.close()
    return names
