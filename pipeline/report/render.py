"""The run's one-file HTML page: what was read, how good the scores are, who ranks where, and what each clip shows.

found -> payload (quality, cautions, likeness) and media (preview, evidence, film, checks) -> page
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from pipeline.core import storage
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.report.contents import Found, read_found
from pipeline.report.media import blocks, make_media
from pipeline.report.page_file import make_page
from pipeline.report.payload import build_payload
from pipeline.report.similarity import projected
from pipeline.report.warnings import find_cautions
from pipeline.runs.files import REPORT
from pipeline.runs.train import load_run
from pipeline.scoring.embeddings import read_embeddings

FILMS = 120  # clips that get one


@dataclass(frozen=True)
class Sources:
    """Where pictures come from, and what they may cost."""

    uris: Mapping[str, str] = field(default_factory=dict)  # of the clips' files, by clip_id; without one, no film
    sampling: SamplingOptions = field(default_factory=SamplingOptions)  # the features'
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    workers: int = 1


def render(
    workspace: str,
    dataset_dir: str,
    run_dir: str,
    device: torch.device,
    faces: str = "blur",
    films: int = FILMS,
    sources: Sources | None = None,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes report.html, which refers to nothing outside itself; what comes from the manifest is text in it.

    Args:
        dataset_dir, run_dir: relative to the workspace; the dataset is the run's own.
        faces: blur; none: no pictures, only skeletons; show.
        films: clips of which a few frames are shown at most.
        sources: None: no pictures.
        name: the run's; None: it has none.
        progress: called with clips whose pictures are made and such clips in all.
    """
    found = read_found(workspace, dataset_dir, run_dir)
    payload, media = build(
        workspace, dataset_dir, run_dir, found, device, faces, films, sources or Sources(), name, progress
    )
    text = make_page(payload, media)
    storage.write_bytes(storage.join(workspace, run_dir, REPORT), text.encode())


def build(
    workspace: str,
    dataset_dir: str,
    run_dir: str,
    found: Found,
    device: torch.device,
    faces: str,
    films: int,
    sources: Sources,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict, list[dict]]:
    """The page's payload and media, as make_page takes them; the arguments are render's."""
    model, _ = load_run(workspace, run_dir, device)
    vectors = projected(read_embeddings(workspace, dataset_dir, run_dir, device) if len(found.clips) else {})
    media = make_media(
        workspace, dataset_dir, found, model, device, faces, films, sources.uris, sources.sampling, sources.limits,
        sources.workers, progress,
    )  # fmt: skip
    has_media = np.zeros(len(found.clips), bool)
    has_media[list(media.entries)] = True
    told = find_cautions(found, faces, media.lost, media.blind)
    payload = build_payload(found, name, faces, vectors, media.checks, told, has_media)
    return payload, blocks(media.entries, len(found.clips))
