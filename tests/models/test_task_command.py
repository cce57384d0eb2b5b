"""Commands that are printed to be copied: they start where they say, and hold no path of this machine."""

import shlex
import sys

import pytest

from models.task_command import luigi_program, task_command


@pytest.mark.parametrize(
    ("python", "program"),
    [
        ("/home/ann/vdv/.venv/bin/python", ".venv/bin/luigi"),
        (".venv/bin/python3", ".venv/bin/luigi"),
        ("/opt/venv/bin/python", "luigi"),
        ("/usr/bin/python3", "luigi"),
        ("", "luigi"),
    ],
)
def test_the_program_is_that_of_the_environment(python: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", python)
    assert luigi_program() == program


def test_words_reach_the_task_as_they_are() -> None:
    words = ["--run", "june's", "--clip", "a b", "--top", "5"]
    assert shlex.split(task_command("Recommend", *words)) == [luigi_program(), "--module", "tasks", "Recommend", *words]
