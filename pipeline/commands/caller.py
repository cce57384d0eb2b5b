"""The program that started a command, where one did: it shows the command's progress and is told what came of it.

Both are lines of the command's journal (pipeline.commands.command), whose file the program gives it and reads.
"""

import json
import os
from dataclasses import asdict, dataclass
from functools import cache

from pipeline.core.child_processes import die_with_parent

_VARIABLE = "VDV_CALLER"


@dataclass(frozen=True)
class Caller:
    """A program that starts a command."""

    process: int  # its id
    journal: int  # descriptor, which the command inherits, of the empty file that is to be its journal
    shows_progress: bool  # the command then prints none

    def environment(self) -> dict[str, str]:
        """The variable by which a command knows the program."""
        return {_VARIABLE: json.dumps(asdict(self))}


@cache
def caller() -> Caller | None:
    """The program that started this process to be a command; None: a person did.

    Processes that this one starts are no such commands.
    """
    stated = os.environ.pop(_VARIABLE, "")
    return Caller(**json.loads(stated)) if stated else None


def die_with_caller() -> None:
    """Have this process end when the program that started it does, however that ends."""
    if by := caller():
        die_with_parent(by.process)


def journal_file() -> int:
    """Descriptor of the file for this process's journal: the caller's, else one of its own."""
    by = caller()
    return by.journal if by else os.memfd_create("vdv-journal")
