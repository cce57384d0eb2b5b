"""Commands on the pages for users can be typed as they stand there: tasks, options, values and defaults are so."""

import importlib.util
import re
import shlex
from pathlib import Path

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser

import tasks
from pipeline.serve.options import parser
from tests.docs.pages import ROOT, find

COMMANDS = [pytest.param(match[1], id=place) for place, match in find(r"luigi --module tasks (\w+.*?)(?:`| &&|$)")]
MENTIONS = [(place, match[1]) for place, match in find(r"`(--[a-z][a-z-]*)")]
OTHER_PROGRAMS = {  # options of benchmarks, of python -m simulation.training.train_networks, and of yt-dlp
    "README.md": {"--write-info-json"},
    "installation.md": {"--gpus", "--seed", "--torch-backend", "--user"},  # of docker and uv
    "serve.md": {word for action in parser()._actions for word in action.option_strings},  # of python -m pipeline.serve
    "scale.md": {"--num-cpus"},  # of ray start
    "benchmarks.md": {"--ablations", "--device", "--full-size", "--seeds", "--subjects"},
    "weights.md": {"--device", "--seconds"},
}
# Rows of options, but not a header that is one.
ROWS = [
    pytest.param(task, match[1], match[2], id=place)
    for page, task in {
        "running.md": "BuildVDV",
        "recommend.md": "Recommend",
        "report.md": "RenderReport",
        "purge.md": "PurgeClips",
        "export.md": "ExportDataset",
    }.items()
    for place, match in find(r"^\| (`--[a-z-]+`(?:, `--[a-z-]+`)*) \| (.*?) \| .*$(?!\n\|--)", ROOT / "docs" / page)
]
IN_WORDS = {
    "any": "", "each": "", "the newest run": "", "all that were extracted": "", "all whose features are there": "",
    "from the options": "", "none": "", "the run's own clips": "",
    "nobody": 0, "nothing": (), "nothing else": (), "off": False, "one a core": 0,
}  # fmt: skip


def words_of(command: str) -> list[str]:
    """What a shell passes on. In brackets stands what may be left out; `...` is what else one would write there."""
    words = shlex.split(re.sub(r"[\[\]]", "", command), comments=True)
    return [word for word in words if word not in ("...", "--help")]


def options_of(task: str) -> dict[str, luigi.Parameter]:
    """By the names that they have on the command line."""
    return {f"--{name.replace('_', '-')}": option for name, option in getattr(tasks, task).get_params()}


def test_there_are_commands_and_tables_on_the_pages() -> None:
    assert len(COMMANDS) > 20
    assert len(ROWS) > 20
    assert len(MENTIONS) > 60


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_a_page_is_one_that_luigi_takes(command: str) -> None:
    with CmdlineParser.global_instance(["--module", "tasks", *words_of(command)]) as parser:
        assert parser.get_task_obj().task_family in tasks.__all__


@pytest.mark.parametrize(("place", "option"), MENTIONS, ids=[f"{place} {option}" for place, option in MENTIONS])
def test_an_option_named_on_a_page_is_one_of_some_task(place: str, option: str) -> None:
    taken = {"--run"}.union(
        *map(options_of, [*tasks.__all__, "core"])
    )  # --run: tasks/option_types.py; core: Luigi's own
    assert option in taken | OTHER_PROGRAMS.get(Path(place.split(":")[0]).name, set()), place


@pytest.mark.parametrize(("task", "names", "defaults"), ROWS)
def test_a_table_of_options_says_the_defaults_that_the_task_has(task: str, names: str, defaults: str) -> None:
    options = options_of(task)
    for name, shown in zip(names.split(", "), defaults.split(", "), strict=True):
        option = options[name.strip("`")]
        default = option.task_value(task, name.strip("`-").replace("-", "_"))
        assert default == (IN_WORDS[shown] if shown in IN_WORDS else option.parse(shown.strip("`"))), name


def test_a_module_that_a_page_has_python_run_is_there() -> None:
    found = [(place, match[1]) for place, match in find(r"python3? -m\s+([a-z_.]+)")]
    assert len(found) > 5
    assert not [(place, module) for place, module in found if importlib.util.find_spec(module) is None]
