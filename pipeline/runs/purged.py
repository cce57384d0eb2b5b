"""The mark of a run whose model was trained on clips that have been purged since, and what is said of it.

runs/<id>/purged.json    {trained_on, clips, retrain}; the model learned from what is no longer there
"""

import logging

from pipeline.core.errors import DamagedFile
from pipeline.runs.run import PURGED, Run

log = logging.getLogger(__name__)


def mark_purged(run_folder: Run, trained_on: int, clips: int, retrain: str) -> None:
    """Write the mark.

    Args:
        trained_on: purged clips that the model was trained on. clips: of the run's clips, how many were purged.
        retrain: the command that trains the like without them.
    """
    run_folder.write_json(PURGED, {"trained_on": trained_on, "clips": clips, "retrain": retrain})


def purged_text(run_folder: Run) -> str | None:
    """What to say wherever a run is listed or used; None: no clip that its model was trained on was purged."""
    try:
        mark = run_folder.read_json(PURGED)
    except FileNotFoundError:
        return None
    except DamagedFile as damaged:  # not removed like others: nothing would be said then
        return f"PURGED CLIPS: {damaged.path} is damaged; it says that the model was trained on clips purged since"
    clips = "1 clip that was" if mark["trained_on"] == 1 else f"{mark['trained_on']} clips that were"
    return (
        f"PURGED CLIPS: the model of run {run_folder.id} was trained on {clips} purged since. Train it"
        f" again without: {mark['retrain']}; then DeleteRun --run {run_folder.id}"
    )


def warn_if_purged(run_folder: Run) -> None:
    """Log `purged_text` as a warning."""
    if text := purged_text(run_folder):
        log.warning(text)
