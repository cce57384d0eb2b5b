"""Kinds of options that Luigi lacks: numbers with a range, devices, several texts, a mark that tells commands apart.

A value that an option does not take raises OptionError, which names the option; Luigi's own kinds end in a traceback.
"""

import argparse
import json
import uuid
from dataclasses import asdict
from typing import Any, Generic, TypeVar

import luigi

from models.device import check_device_name
from pipeline.commands.command import Command
from pipeline.commands.progress import EVERY_S
from pipeline.core.errors import OptionError

NumberT = TypeVar("NumberT", int, float)
T = TypeVar("T")

# No option can be `run` itself, for what a task does is its method `run`; but argparse takes the beginning of an option
# for the whole of it.
RUN_HELP = "id or name of a run; --run for short"


def _option(parameter: luigi.Parameter[Any]) -> str:
    return "--" + parameter._attribute_name.replace("_", "-")  # Luigi notes it when the task's class is made


class NumberOption(luigi.Parameter[NumberT], Generic[NumberT]):
    """A number from `minimum` to `maximum`, both included.

    Args:
        kind: int or float.
        rest: what luigi.Parameter takes.
    """

    def __init__(self, kind: type[NumberT], minimum: NumberT, maximum: NumberT, **rest: Any):
        super().__init__(**rest)
        self._kind: type[NumberT] = kind
        self._minimum: NumberT = minimum
        self._maximum: NumberT = maximum

    def parse(self, x: str) -> NumberT:
        try:
            return self._kind(x)
        except ValueError as error:
            raise self._wrong(x) from error

    def normalize(self, x: NumberT) -> NumberT:
        # Of what was parsed, and of what other tasks pass on. `not`, for NaN is in no range.
        if not self._minimum <= x <= self._maximum:
            raise self._wrong(x)
        return x

    def _wrong(self, given: object) -> OptionError:
        what = "a whole number" if self._kind is int else "a number"
        return OptionError(f"{_option(self)} is {given}; it takes {what} from {self._minimum} to {self._maximum}")


class ChoiceOption(luigi.Parameter[str]):
    """One of several words."""

    def __init__(self, *choices: str, description: str, **rest: Any):
        super().__init__(description=f"{description}; one of: {', '.join(choices)}", **rest)
        self._choices = choices

    def normalize(self, x: str) -> str:
        if x not in self._choices:
            raise OptionError(f"{_option(self)} is {x}; choose from {', '.join(self._choices)}")
        return x


class DeviceOption(luigi.Parameter[str]):
    """The device that networks run on; a kind that vdv does not run on is refused before torch is imported."""

    def __init__(self) -> None:
        super().__init__(default="auto", significant=False, description="auto, cpu, cuda or cuda:N")

    def normalize(self, x: str) -> str:
        check_device_name(x)
        return x


class SeveralOption(luigi.Parameter[tuple[str, ...]]):
    """Texts, from an option that may be given several times, or from one that holds them with `between` in between."""

    between = ","

    def parse(self, x: Any) -> tuple[str, ...]:
        given = [x] if isinstance(x, str) else x  # a text from luigi.cfg, a list from the command line
        return tuple(name.strip() for text in given for name in text.split(self.between) if name.strip())

    def serialize(self, x: tuple[str, ...]) -> str:
        return self.between.join(x)

    @classmethod
    def _parser_kwargs(cls, param_name: str, task_name: str | None = None) -> dict[str, Any]:
        # What luigi.BoolParameter overrides, too: of an option given twice Luigi else keeps the second.
        return super()._parser_kwargs(param_name, task_name) | {"action": "append"}


class RunsOption(SeveralOption):
    """Several runs: `--run A --run B`, or `--run A,B`."""


class PatternsOption(SeveralOption):
    """Several texts that may hold commas, like patterns of uris: in luigi.cfg one a line."""

    between = "\n"

    def __init__(self, description: str):
        super().__init__(default=(), significant=False, description=description)


class AskedOption(luigi.Parameter[T]):
    """A mark that no two commands share, though they ask for the same. It is no option for people, and not in --help.

    A central scheduler ignores for 10 s what it has just seen done, and Luigi keeps a task for as long as its process
    lives: by this mark every command is one of its own to both.
    """

    MARK = "asked-"

    def __init__(self) -> None:
        super().__init__(default="", description=argparse.SUPPRESS)  # type: ignore[arg-type]

    def normalize(self, x: T) -> T:
        return x or f"{self.MARK}{uuid.uuid4().hex}"  # type: ignore[return-value]


class CommandOption(luigi.Parameter[Command | None]):
    """The command that a task works for, handed from task to task like the snapshot. It is no option for people."""

    def __init__(self) -> None:
        super().__init__(default=None, significant=False, description=argparse.SUPPRESS)

    def serialize(self, x: Command | None) -> str:
        return json.dumps(asdict(x)) if x else ""

    def parse(self, x: str) -> Command | None:
        return Command(**json.loads(x)) if x else None


def progress_option() -> NumberOption:
    """The option of how often progress is told."""
    return NumberOption(
        float, 0.05, 86_400.0, default=EVERY_S, significant=False,
        description="seconds between two reports of progress where the output is no terminal, and in the log",
    )  # fmt: skip
