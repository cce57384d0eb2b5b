"""What docs/responsible-use.md promises about faces: which files hold them, and that they are gone when told so."""

import re
import subprocess
from pathlib import Path

import luigi
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.folder import DatasetFolder
from pipeline.modalities.registry import extracted_names
from pipeline.runs.run import EMBEDDINGS, Run
from pipeline.scoring.embeddings import read_embeddings
from tasks.finished.runs import DeleteRun
from tests.docs.pages import ROOT
from tests.support.made_once import Workspaces
from tests.support.made_reports import CPU, DATASET, RUN, make

PAGE = (ROOT / "docs/responsible-use.md").read_text()


@pytest.mark.parametrize("modality", extracted_names())
def test_the_page_says_what_each_modality_s_files_hold_about_people(modality: str) -> None:
    assert f"| `features/{modality}/`" in PAGE or f"`features/{modality}/` |" in PAGE
    assert re.search(rf"^\| {modality}\b", PAGE, re.MULTILINE), "and what it stands in for"


def with_faces(workspace: Path) -> set[str]:
    """Top folders with a table of faces' pictures or embeddings, or of clips' embeddings learned from them."""
    tables = {path: pq.read_schema(path).names for path in workspace.rglob("*.parquet")}
    holds = [
        path
        for path, names in tables.items()
        if {"crop", "embedding"} & set(names) or (path.name == EMBEDDINGS and "face" in names)
    ]
    return {path.relative_to(workspace).parts[0] for path in holds}


def test_two_commands_leave_no_face_behind(workspaces: Workspaces) -> None:
    workspace = workspaces.copy(make)
    read_embeddings(DatasetFolder(str(workspace), DATASET), Run(str(workspace), RUN), CPU)  # as a report does
    assert with_faces(workspace) == {"features", "runs"}
    (drop,) = re.findall(r"^    (rm -r WORKSPACE/\S+)", PAGE, re.MULTILINE)
    subprocess.run(drop.replace("WORKSPACE", str(workspace)).split(), check=True)
    assert with_faces(workspace) == {"runs"}
    assert luigi.build([DeleteRun(workspace=str(workspace), run_id=RUN.split("/")[1])], local_scheduler=True)
    assert with_faces(workspace) == set()
    assert not (workspace / RUN).exists()
    assert (workspace / "features/pose").exists()
