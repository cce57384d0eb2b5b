"""Options in Python are those of the commands."""

from pathlib import Path

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser

import tasks
from pipeline.api.command_options import BuildOptions, ScoreOptions, refuse_unknown, words
from pipeline.core.errors import OptionError

# Given by the workspace, by arguments of their own, or by no person.
OTHERS = {"workspace", "manifest", "run_id", "dry_run", "seen", "for_command"}


@pytest.mark.parametrize(("task", "options"), [(tasks.BuildVDV, BuildOptions), (tasks.ScoreUploads, ScoreOptions)])
def test_each_option_of_the_command_is_one_in_python(task: type[luigi.Task], options: type) -> None:
    assert set(options.__annotations__) == {name for name, _ in task.get_params()} - OTHERS


def test_an_option_that_does_not_exist_is_refused_with_those_that_are_like_it() -> None:
    refuse_unknown({"profile": "full"}, BuildOptions, "build")
    with pytest.raises(OptionError, match="build takes no option 'proflie'; did you mean profile"):
        refuse_unknown({"proflie": "full"}, BuildOptions, "build")
    with pytest.raises(OptionError, match=r"score takes no option 'xyz'; it takes allow_uri, .*, weights_cache$"):
        refuse_unknown({"xyz": 1}, ScoreOptions, "score")


def test_values_reach_the_command_as_they_are_meant() -> None:
    options = {
        "manifest": Path("a b.csv"), "modalities": ["pose", "scene"], "allow_uri": ["file:///a,b/*", "s3://c/*"],
        "logger": ["mlflow:http://a:5000", "wandb:dances"],
        "folds": 0, "retry_failed": True, "with_context": False, "max_failed": 0.5, "run_name": None,
    }  # fmt: skip
    with CmdlineParser.global_instance(["--module", "tasks", "BuildVDV", *words(options)]) as parser:
        given = parser.get_task_obj()
    assert isinstance(given, tasks.BuildVDV)
    assert (given.manifest, given.modalities) == ("a b.csv", "pose,scene")
    assert given.logger == ("mlflow:http://a:5000", "wandb:dances")
    assert given.allow_uri == ("file:///a,b/*", "s3://c/*")
    assert (given.folds, given.retry_failed, given.with_context, given.max_failed) == (0, True, False, 0.5)
    assert given.run_name == ""


@pytest.mark.parametrize(("name", "value"), [("manifest", ""), ("modalities", []), ("ablation_variants", ())])
def test_what_is_empty_by_mistake_is_not_taken_for_the_demo_world_or_for_all(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=rf"^{name} is empty: "):
        list(words({name: value}))
    assert list(words({"allow_uri": [], "run_name": ""})) == ["--run-name="]


@pytest.mark.parametrize(("name", "value"), [("manifest", b"x"), ("manifest", ["a.csv"]), ("run_name", "a\0")])
def test_what_no_command_line_can_hold_is_refused_in_words(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"^{name} (is a|holds a byte 0)"):
        list(words({name: value}))
