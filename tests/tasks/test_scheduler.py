"""Which scheduler a command gets: Luigi's own in the process, unless a central one is named."""

from collections.abc import Iterator
from pathlib import Path

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import get_config
from luigi.retcodes import retcode

import tasks

WORDS = ["--module", "tasks", "BuildVDV"]


@pytest.fixture(autouse=True)
def config() -> Iterator[None]:
    """Luigi's configuration as it was, afterwards."""
    stated = dict(get_config()["core"])
    yield
    get_config()["core"] = stated


@pytest.mark.filterwarnings("ignore::luigi.task.UnconsumedParameterWarning")
@pytest.mark.parametrize(
    ("words", "stated", "local"),
    [
        ([], {}, True),
        (["--local-scheduler"], {}, True),
        (["--workers", "2"], {}, True),
        (["--scheduler-host", "localhost"], {}, False),
        (["--scheduler-port", "8082"], {}, False),
        (["--scheduler-url", "http://central:80/"], {}, False),
        (["--local-scheduler", "--scheduler-host", "central"], {}, True),
        ([], {"local_scheduler": "false"}, False),
        ([], {"local_scheduler": "true", "scheduler_host": "central"}, True),
        (["--scheduler-host", "central"], {"local_scheduler": "true"}, False),
        ([], {"scheduler_host": "central"}, False),
        ([], {"default-scheduler-host": "central"}, False),
        ([], {"scheduler_url": "http://central:80/"}, False),
    ],
)
def test_a_command_needs_no_luigid_unless_it_or_a_luigi_cfg_names_one(
    words: list[str], stated: dict[str, str], local: bool
) -> None:
    get_config()["core"] = stated
    with CmdlineParser.global_instance([*WORDS, *words]):
        found = luigi.interface.core()
    assert found.local_scheduler is local
    if "--scheduler-host" in words:
        assert found.scheduler_host == words[-1]


@pytest.mark.parametrize(
    ("arguments", "local"),
    [
        ({}, True),
        ({"local_scheduler": True}, True),
        ({"local_scheduler": False}, False),
        ({"scheduler_host": "central"}, False),
        ({"scheduler_port": 8082}, False),
        ({"local_scheduler": True, "scheduler_host": "central"}, True),
    ],
)
def test_a_build_in_a_notebook_has_the_same_choice(arguments: dict, local: bool) -> None:
    assert luigi.interface.core(**arguments).local_scheduler is local


def test_our_luigi_cfg_lies_in_the_package_and_a_failed_run_is_no_success() -> None:
    assert Path(tasks.__file__).with_name("luigi.cfg").is_file()
    assert (retcode().task_failed, retcode().scheduling_error) == (30, 35)
