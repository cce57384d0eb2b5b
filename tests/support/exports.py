"""Runs to export, and their exports."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.options import DecodeLimits
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.labels import LabelOptions
from pipeline.export.contents import Contents, read_contents
from pipeline.export.dataset import Exported, export_dataset
from pipeline.runs.run import RUN_SCHEMA, SCORES, Run
from tests.support.learnable_world import Clip, make_batch
from tests.support.small_run import RUN
from tests.support.whole_files import write_json

# Ids that formats may stumble over, a creator who is a formula, and a clip of each kind of failing.
HARD_CLIPS = (
    Clip("a.b.c", creator="=cmd|' /C calc'!A0", likes=12, uploaded_at="2024-06-01"),
    Clip("_.hidden", creator="@ann", likes=7),
    Clip("-1", "wave", creator="bob", likes=3, unheard="silent"),
    Clip("empty", "wave", creator="bob", nobody=True, likes=4),
    Clip("broken", "wave", creator="eve", likes=1, fails="corrupt"),
    Clip("gone", "wave", creator="eve", likes=9),
)


def make_hard_run(workspace: Path) -> Path:
    """HARD_CLIPS with all modalities, and scores that no model made."""
    files = make_batch(workspace, HARD_CLIPS)
    dataset = DatasetFolder(str(workspace), "datasets/one")
    assemble(dataset, [files], LabelOptions(holdout=0.4))
    run, clips = Run(str(workspace), RUN), dataset.read_clips()
    columns = clips[["clip_id", "challenge", "split", "label"]]
    scores = columns.assign(score=np.linspace(-1, 1, len(clips)), percentile=0.5, abstained=False)
    scores.loc[scores["clip_id"] == "broken", ["score", "percentile"]] = np.nan
    run.write_table(SCORES, scores)
    write_json(run.file("run.json"), {"schema": RUN_SCHEMA, "dataset": "one"})
    (workspace.parent / f"{workspace.name}-source/gone.mp4").unlink()
    return workspace


def contents_of(workspace: Path, modalities: Sequence[str] = (), biometrics: bool = False) -> Contents:
    return read_contents(Run(str(workspace), RUN), modalities, biometrics)


def export(workspace: Path, kind: str, out: Path, films: bool = False, biometrics: bool = False) -> Exported:
    limits = DecodeLimits() if films else None
    return export_dataset(contents_of(workspace, biometrics=biometrics), kind, out, limits)


def clips_of(workspace: Path) -> pd.DataFrame:
    return DatasetFolder(str(workspace), "datasets/one").read_clips()
