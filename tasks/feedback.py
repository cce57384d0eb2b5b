"""Feedback on one clip, compared with the best of its challenge."""

import luigi

from pipeline.runs.purged import warn_if_purged
from pipeline.runs.run import Run
from pipeline.runs.runs import find_run
from tasks.console import say
from tasks.option_types import RUN_HELP, AskedOption, DeviceOption
from tasks.terminal_text import feedback_text


class ActionFeedback(luigi.Task):
    """Says which limb, when, and how a clip's dancing differs from that of the best clips of the same challenge.

    For example: ActionFeedback --run june --clip a17. Prints a sentence a difference, and writes them as JSON, with an
    MP4 of both skeletons side by side, into runs/<id>/feedback/. Only what good clips do not do among themselves is
    named, so there may be nothing. Needs a run with the pose modality; trains nothing and takes seconds.
    """

    run_id = luigi.Parameter(description=RUN_HELP)
    clip = luigi.Parameter(description="clip_id of the clip, one of those that the run was made with")
    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds the run")
    device = DeviceOption()
    asked = AskedOption[str]()

    def complete(self) -> bool:
        find_run(self.workspace, self.run_id)  # a wrong name is an error before anything starts
        return False  # made anew each time; it takes seconds

    def run(self) -> None:
        from models.device import resolve_device
        from pipeline.feedback.clip_feedback import write_feedback

        run_folder = Run.of(self.workspace, find_run(self.workspace, self.run_id))
        run = run_folder.read_about()
        if run["untrained"]:
            from pipeline.runs.train import warn_if_untrained

            warn_if_untrained(run)
        warn_if_purged(run_folder)
        say(feedback_text(self.clip, write_feedback(run_folder, self.clip, resolve_device(self.device))))
