"""Small runs to make reports of: real files, in which nothing was learned."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import make_run
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.modalities.registry import extracted_names
from pipeline.report.render import Sources, build
from pipeline.report.run_contents import RunContents, read_run_contents
from pipeline.runs.run import Run
from tests.support.learnable_world import Clip, make_batch, speed_decides
from tests.support.made_once import begins_with

CPU = torch.device("cpu")
DATASET, RUN = "datasets/one", "runs/" + "a" * 16
PAGE_DATA = "page.json"
HTML = "<script>alert(1)\u2028</script>&amp;"
SMALL: dict[str, Any] = {"frames": 16, "samplings": 1, "width": 16}
# Whatever a clip can lack.
ODD = (
    Clip("later", creator="zoe", speed=0.5, unheard="silent"),
    Clip("broken", creator="zoe", likes=5, fails="corrupt"),
    Clip("no-file", creator="yan", likes=5, fails="not_a_video"),
    Clip("nobody", "wave", creator="yan", likes=4, nobody=True),
)


def make(
    workspace: Path, clips: Sequence[Clip] | None = None, modalities: Sequence[str] = extracted_names(), folds: int = 3
) -> str:
    """A workspace with a dataset and a run; 24 clips of two challenges and the odd ones unless given."""
    some = [*speed_decides(24, seed=1), *ODD] if clips is None else clips
    assemble(
        DatasetFolder(str(workspace), DATASET),
        [make_batch(workspace, some, modalities=modalities)],
        LabelOptions("likes", holdout=0.4),
    )
    make_run(str(workspace), DATASET, RUN, folds, **SMALL)
    return str(workspace)


def built(workspace: str, faces: str = "blur", films: int = 120, sources: Sources | None = None) -> tuple[dict, list]:
    """Payload and media, having gone through JSON as the browser gets them."""
    both = build(
        DatasetFolder(workspace, DATASET),
        Run(workspace, RUN),
        contents(workspace),
        CPU,
        faces,
        films,
        sources or Sources(),
    )
    payload, media = json.loads(json.dumps(both, allow_nan=False))
    return payload, media


@begins_with(make)
def make_page_data(workspace: Path) -> None:
    """The run of `make` with what `built` gives of it in PAGE_DATA, and with its embeddings' cache."""
    (workspace / PAGE_DATA).write_text(json.dumps(built(str(workspace))))


def make_few_clips(workspace: Path) -> None:
    """Eight clips of two challenges, two modalities: for tests of what does not depend on how many there are."""
    make(workspace, speed_decides(8, seed=1), modalities=("pose", "scene"))


def contents(workspace: str) -> RunContents:
    return read_run_contents(DatasetFolder(workspace, DATASET), Run(workspace, RUN))
