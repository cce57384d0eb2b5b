"""ActionFeedback on the command line: what is asked, what is printed, what is refused before anything runs."""

import json
from pathlib import Path

import pytest
from luigi.cmdline_parser import CmdlineParser

from pipeline.core.errors import OptionError
from pipeline.runs.runs import name_run
from tasks import ActionFeedback
from tests.pipeline.feedback.dancing_run import RUN, make_dancing_run
from tests.support.made_once import Workspaces


@pytest.fixture(scope="module")
def workspace(workspaces: Workspaces) -> Path:
    workspace = workspaces.copy(make_dancing_run)
    name_run(str(workspace), RUN.removeprefix("runs/"), "june")
    return workspace


def task(workspace: Path, clip: str, run: str = "june") -> ActionFeedback:
    return ActionFeedback(run_id=run, clip=clip, workspace=str(workspace), device="cpu")


def test_options_are_given_as_the_docs_write_them(workspace: Path) -> None:
    words = ["ActionFeedback", "--run", "june", "--clip", "late", "--workspace", str(workspace)]
    with CmdlineParser.global_instance(["--module", "tasks", *words]) as parser:
        given = parser.get_task_obj()
    assert isinstance(given, ActionFeedback)
    assert (given.run_id, given.clip, given.workspace) == ("june", "late", str(workspace))


def test_sentences_and_files_are_printed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task(workspace, "late").run()
    said = capsys.readouterr().err
    found = json.loads((workspace / RUN / "feedback/late.json").read_text())
    assert said.startswith(f"clip late against the best {len(found['references'])} of its challenge: ")
    for one in found["findings"]:
        assert one["sentence"] in said
        assert one["meaning"] in said
    assert f"written: {workspace}/{RUN}/feedback/late.json, {workspace}/{RUN}/feedback/late.mp4" in said


def test_a_clip_without_faults_is_told_so(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task(workspace, "good4").run()
    assert "nothing stands out: it differs from them no more than they do from one another" in capsys.readouterr().err


def test_an_unknown_run_is_refused_before_anything_starts(workspace: Path) -> None:
    with pytest.raises(OptionError, match=r"has no run of the name or id 'may'; there are .*june"):
        task(workspace, "late", run="may").complete()
