"""The workspace that looks finished looks so to the product, whatever files it has come to want."""

from pathlib import Path

import pytest

from benchmarks import noop
from tasks.build import BuildVDV
from tests.end_to_end.workspaces import luigi


def test_nothing_is_to_be_done_in_the_workspace_that_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noop, "CLIPS_A_BATCH", 8)
    noop.make_workspace(tmp_path, 20)
    build = BuildVDV(manifest=str(tmp_path / "manifests"), workspace=str(tmp_path / "workspace"))
    assert len(build.snapshot.batches) == 3
    assert build.done()
    words = ["--module", "tasks", "BuildVDV", "--manifest", build.manifest, "--workspace", build.workspace]
    done = luigi(words, tmp_path)
    assert done.code == 0, done.output
    assert "nothing to do" in done.output
