"""Logs and summaries of commands without those that name what is purged.

They are deleted whole: they tell what was done, and no command reads more of them than how long it took. One that is at
work writes its log again, and then names no clip in it (pipeline.commands.command.Command.write).
"""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.commands.command import COMMANDS, FILE
from pipeline.commands.summary import summaries
from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.files.folder import Folder
from pipeline.purge.job import Step, deleting
from pipeline.purge.search import Needles, search_file


def command_steps(workspace: str, needles: Needles) -> Iterator[Step]:
    """Steps that delete both files of each command that names what is purged in one of them, or has a damaged summary.

    Short ids count in running text, too: a record that is deleted for nothing costs little. Files of other names are
    not vdv's.
    """
    needles = replace(needles, shortest=1)
    folder = Folder(workspace, COMMANDS)
    names = [name for name in sorted(storage.listing(folder.path)) if FILE.fullmatch(name)]
    hits = {_id(name) for name in names if search_file(folder.file(name), needles)}
    damaged = {_id(name) for name in names if _is_damaged(folder, name)} - hits
    for ids, why in ((hits, "names a purged clip"), (damaged, "its summary is damaged")):
        if ids:
            yield deleting(folder, [name for name in names if _id(name) in ids], why, COMMANDS)


def recorded_exports(workspace: str) -> list[str]:
    """Folders to which the workspace's clips were exported, as far as its summaries of commands go back; sorted.

    They lie outside the workspace: nobody looks whether they are still there, or what is in them.
    """
    told = (about["places"].get("written") for about in summaries(workspace) if about["task"] == "ExportDataset")
    return sorted({place for place in told if place})


def _id(name: str) -> str:
    return name.rpartition(".")[0]


def _is_damaged(folder: Folder, name: str) -> bool:
    if not name.endswith(".json"):
        return False
    try:
        folder.read_json(name)
    except FileNotFoundError:  # removed in favour of a newer one since
        return False
    except DamagedFile:
        return True
    return False
