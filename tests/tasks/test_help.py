"""What --help says: every task and every option of it in words that somebody new to luigi understands."""

import argparse

import luigi
import pytest
from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register

import tasks


def options(name: str) -> list[tuple[str, luigi.Parameter]]:
    """Those for people: not what tasks hand to one another."""
    return [
        (option, parameter)
        for option, parameter in Register.get_task_cls(name).get_params()
        if parameter.description != argparse.SUPPRESS
    ]


@pytest.mark.parametrize("name", tasks.__all__)
def test_every_task_says_what_it_does(name: str) -> None:
    task = Register.get_task_cls(name)
    said = (task.__doc__ or "").strip()
    assert len(said.split()) >= 6, f"{name} has no description"
    assert said[0].isupper()
    assert said.endswith((".", ")"))


@pytest.mark.parametrize("name", tasks.__all__)
def test_every_option_is_described(name: str) -> None:
    for option, parameter in options(name):
        words = (parameter.description or "").split()
        assert len(words) >= 2, f"{name} --{option.replace('_', '-')} has no description"


@pytest.mark.parametrize("name", tasks.__all__)
def test_help_prints_every_option_with_its_description(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, CmdlineParser.global_instance(["--module", "tasks", name, "--help"]):
        pass
    assert not ended.value.code
    printed = "".join(capsys.readouterr().out.split())  # lines break anywhere, within words with hyphens, too
    for option, parameter in options(name):
        assert f"--{option.replace('_', '-')}" in printed
        assert "".join((parameter.description or "").split()) in printed, option
    assert "--seen" not in printed
    assert "--asked" not in printed
