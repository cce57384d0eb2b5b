"""Finished runs: held against each other, asked about one clip, deleted."""

from dataclasses import asdict

import luigi

from pipeline.commands.command import Command
from pipeline.core.errors import OptionError
from pipeline.runs.purged import warn_if_purged
from pipeline.runs.run import Run
from pipeline.runs.runs import delete_run, find_run, read_names
from tasks.console import Summary, finish
from tasks.option_types import RUN_HELP, AskedOption, DeviceOption, RunsOption
from tasks.options import held
from tasks.terminal_text import comparison_text, feedback_text


class CompareRuns(luigi.Task):
    """Prints by how much two runs differ on the clips that the folds of both judged.

    --run A --run B: positive differences speak for A.
    """

    runs = RunsOption(description="two runs, by id or name: --run A --run B")
    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds the runs")
    asked = AskedOption[str]()

    def complete(self) -> bool:
        self._found()  # a wrong name is an error before anything starts
        return False  # printing is all there is

    def run(self) -> None:
        from pipeline.evaluation.compare_runs import compare_runs

        first, second = self._found()
        command = Command.begin(self.workspace, self.task_family)
        for run_id in (first, second):
            warn_if_purged(Run.of(self.workspace, run_id))
        names = {run_id: name for name, run_id in read_names(self.workspace).items()}
        compared = compare_runs(self.workspace, first, second)
        lines = comparison_text(compared, names.get(first, first), names.get(second, second))
        places = {name: Run.of(self.workspace, run).path for name, run in (("first", first), ("second", second))}
        results = {"first": first, "second": second, **asdict(compared)}
        finish(command, Summary(lines, places, {"results": results}))

    def _found(self) -> tuple[str, str]:
        if len(self.runs) != 2:
            raise OptionError(f"comparing takes two runs, --run A --run B; {len(self.runs)} given")
        first, second = (find_run(self.workspace, given) for given in self.runs)
        return first, second


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
        command = Command.begin(self.workspace, self.task_family)
        run = run_folder.about
        if run["untrained"]:
            from pipeline.runs.train import warn_if_untrained

            warn_if_untrained(run)
        warn_if_purged(run_folder)
        feedback = write_feedback(run_folder, self.clip, resolve_device(self.device))
        results = {
            "run": run_folder.id,
            "clip": self.clip,
            "findings": len(feedback.comparison.findings) + len(feedback.off_beat),
        }
        places = {"written": [feedback.json_path, feedback.film_path]}
        finish(command, Summary(feedback_text(self.clip, feedback), places, {"results": results}))


class DeleteRun(luigi.Task):
    """Deletes a run's folder and its name. Clips, features and datasets stay."""

    run_id = luigi.Parameter(description=RUN_HELP)
    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds the run")
    asked = AskedOption[str]()

    def complete(self) -> bool:
        find_run(self.workspace, self.run_id, finished=False)
        return False

    def run(self) -> None:
        found = find_run(self.workspace, self.run_id, finished=False)
        command = Command.begin(self.workspace, self.task_family)
        place = Run.of(self.workspace, found).place
        with held(self.workspace, place, self.task_family):
            delete_run(self.workspace, found)
        line = f"deleted {place} of {self.workspace}; clips, features and datasets are still there"
        finish(command, Summary([line], {}, {"results": {"deleted": place}}))
