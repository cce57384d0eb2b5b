"""The runs of a workspace: finding by id or name, naming, deleting. Imports nothing heavy, since planning uses it.

runs/<id>/          a run's files (pipeline.runs.run)
runs/names.json     {name: id}
latest.json         the newest dataset, run and report
"""

import logging
import re
import shutil

from pipeline.core import storage
from pipeline.core.errors import DamagedFile, OptionError, WorkspaceError
from pipeline.core.locks import exclusive
from pipeline.files.folder import Folder
from pipeline.runs.run import PURGED, REPORT, RUN, RUNS, Run

log = logging.getLogger(__name__)

NAMES, LATEST = "runs/names.json", "latest.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID = re.compile(r"[0-9a-f]{16}")
_LISTED = 20  # runs in one message


def find_run(workspace: str, id_or_name: str, finished: bool = True) -> str:
    """The id of the run of this name or id.

    finished: False also finds the run of a training that was killed.

    Raises:
        OptionError: there is none; the message lists the existing runs.
    """
    files = storage.listing(storage.join(workspace, RUNS))
    ids = sorted({path.split("/")[0] for path in files if "/" in path})
    done = [run_id for run_id in ids if f"{run_id}/{RUN}" in files]
    names = read_names(workspace)
    run_id = names.get(id_or_name, id_or_name)
    if run_id in (done if finished else ids):
        return run_id
    if run_id in ids:
        raise OptionError(
            f"the training of run {id_or_name} did not finish; run BuildVDV again, or delete it with DeleteRun"
        )
    name_of = {run_id: name for name, run_id in names.items()}
    purged = {run_id for run_id in done if f"{run_id}/{PURGED}" in files}
    notes = {
        run_id: [*filter(None, [name_of.get(run_id)]), *["trained on purged clips"] * (run_id in purged)]
        for run_id in done
    }
    listed = ", ".join(
        run_id + (f" ({', '.join(notes[run_id])})" if notes[run_id] else "") for run_id in done[:_LISTED]
    )
    more = f" and {len(done) - _LISTED} more" if len(done) > _LISTED else ""
    existing = f"there are {listed}{more}" if done else "there is none: BuildVDV trains one"
    raise OptionError(f"{workspace} has no run of the name or id {id_or_name!r}; {existing}")


def read_names(workspace: str) -> dict[str, str]:
    """Ids of the named runs, by name. A damaged list of them is removed with a warning: no run has a name then."""
    return Folder(workspace).read_intact_json(NAMES) or {}


def check_name(workspace: str, name: str, run_id: str | None = None) -> None:
    """Raise OptionError for a name that is not allowed, or, with `run_id`, that another run has."""
    if not NAME.fullmatch(name) or _ID.fullmatch(name):
        raise OptionError(
            f"--run-name is {name!r}; a name has up to 64 letters, digits, dots, hyphens and underscores, starts with a"
            " letter or digit, and does not look like a run's id"
        )
    owner = read_names(workspace).get(name)
    if run_id and owner not in (None, run_id):
        raise OptionError(
            f"--run-name {name} is the name of run {owner}; choose another, or delete that run with DeleteRun --run"
            f" {name}"
        )


def name_run(workspace: str, run_id: str, name: str) -> None:
    """Name a run, in place of any earlier name of it. Raises what `check_name` does."""
    with exclusive(workspace, NAMES):
        check_name(workspace, name, run_id)
        names = {other: owner for other, owner in read_names(workspace).items() if owner != run_id}
        Folder(workspace).write_json(NAMES, names | {name: run_id})


def delete_run(workspace: str, run_id: str) -> None:
    """Delete runs/<id>/ and its name, and nothing else: features and datasets stay.

    latest.json then names the run that finished last of those left that can be read; it is deleted with the last one.
    Whatever is read for this is read before anything is deleted.

    run_id: as `find_run` returns it.

    Raises:
        WorkspaceError: the run's folder is a link, or cannot be deleted.
    """
    folder = Run.of(workspace, run_id).path
    if "/" in run_id or run_id in ("", ".", ".."):
        raise WorkspaceError(f"{run_id!r} is no run's id; nothing was deleted")
    if storage.is_local(folder) and storage.local_path(folder).is_symlink():
        raise WorkspaceError(f"{folder} is a link to somewhere else; nothing was deleted. Remove the link by hand")
    with exclusive(workspace, NAMES):
        names, newest = read_names(workspace), _latest_without(workspace, run_id)
        # run.json first: if the process is killed now, an unfinished run is left, which can be deleted again.
        storage.remove(storage.join(folder, RUN))
        if storage.is_local(folder):
            try:
                shutil.rmtree(storage.local_path(folder))
            except OSError as error:
                raise WorkspaceError(
                    f"cannot delete {error.filename or folder}: {error.strerror}; check that you may write there"
                ) from error
        else:
            for path in storage.listing(folder):
                storage.remove(storage.join(folder, path))
        root = Folder(workspace)
        if run_id in names.values():
            root.write_json(NAMES, {name: owner for name, owner in names.items() if owner != run_id})
        if newest is None:
            storage.remove(root.file(LATEST))
        else:
            root.write_json(LATEST, newest)


def latest(dataset: str, run: str) -> dict[str, str]:
    """Content of latest.json; paths relative to the workspace."""
    return {"dataset": dataset, "run": run, "report": f"{run}/{REPORT}"}


def _latest_without(workspace: str, deleted: str) -> dict[str, str] | None:
    """Content of latest.json once a run is deleted; None: there is no run to name."""
    stated = Folder(workspace).read_intact_json(LATEST)
    if stated is not None and stated["run"] != Run.of(workspace, deleted).place:
        return stated
    files = storage.listing(storage.join(workspace, RUNS))
    reported = [name.split("/")[0] for name in files if name.endswith(f"/{REPORT}") and name.count("/") == 1]
    finished = [run_id for run_id in reported if run_id != deleted and f"{run_id}/{RUN}" in files]
    runs = {}
    for run_id in finished:
        try:
            runs[run_id] = Run.of(workspace, run_id).read_json(RUN)
        except DamagedFile as damaged:
            log.warning(f"{damaged}; it is passed over")
    if not runs:
        return None
    # Runs of an older schema lack the time.
    newest = max(runs, key=lambda run_id: (runs[run_id].get("finished_at", ""), run_id))
    return latest(f"datasets/{runs[newest]['dataset']}", Run.of(workspace, newest).place)
