"""Runs held against each other, and deleted; clips taken out of a workspace for good."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import luigi

from pipeline.core.errors import DataError, OptionError
from pipeline.purge.job import JOB
from pipeline.runs.purged import warn_if_purged
from pipeline.runs.run import Run
from pipeline.runs.runs import delete_run, find_run, read_names
from tasks.console import Progress, say
from tasks.option_types import RUN_HELP, AskedOption, PatternsOption, RunsOption, SeveralOption
from tasks.options import held
from tasks.terminal_text import comparison_text, places_text, proof_text, purge_text

if TYPE_CHECKING:
    from pipeline.purge.purge import Purge

_FOUND = 20  # places in one message


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
        for run_id in (first, second):
            warn_if_purged(Run.of(self.workspace, run_id))
        names = {run_id: name for name, run_id in read_names(self.workspace).items()}
        compared = compare_runs(self.workspace, first, second)
        say(comparison_text(compared, names.get(first, first), names.get(second, second)))

    def _found(self) -> tuple[str, str]:
        if len(self.runs) != 2:
            raise OptionError(f"comparing takes two runs, --run A --run B; {len(self.runs)} given")
        first, second = (find_run(self.workspace, given) for given in self.runs)
        return first, second


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
        with held(self.workspace, Run.of(self.workspace, found).place, self.task_family):
            delete_run(self.workspace, found)
        say(
            f"deleted {Run.of(self.workspace, found).place} of {self.workspace}; clips, features and datasets are still"
            " there"
        )


class PurgeClips(luigi.Task):
    """Takes clips out of a workspace, whatever was made of them, and proves it; they do not come in again.

    For example: PurgeClips --creators u042 --dry-run, then without --dry-run. Which clips by one of --clips, --creators
    and --list. Manifests and the clips' own files are not touched; where they name a clip is said.
    """

    clips = SeveralOption(default=(), description="clip_ids: --clips a,b or --clips a --clips b")
    creators = PatternsOption("creator_id whose clips are all to go; may be given several times")
    list = luigi.Parameter(
        default="", description="a CSV file of clip_ids: its column clip_id, or one id a line without a header"
    )
    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds everything made")
    dry_run = luigi.BoolParameter(description="list every place that would be changed, and change nothing")
    asked = AskedOption[str]()

    def complete(self) -> bool:
        self._planned()  # a wrong option or an unknown id is an error before anything starts
        return False

    def run(self) -> None:
        if self.dry_run:
            from pipeline.purge.purge import find_places

            purge = self._planned()
            say(purge_text(purge.job, purge.interrupted, self._manifest_lines(purge)))
            say(places_text(find_places(self.workspace, purge), dry_run=True))
            return
        with held(self.workspace, JOB, self.task_family):
            self._purge()

    def _purge(self) -> None:
        from pipeline.purge.purge import carry_out, finish, jobs

        for purge in jobs(self._planned()):
            lines = self._manifest_lines(purge)
            say(purge_text(purge.job, purge.interrupted, lines))
            say(
                places_text(
                    carry_out(self.workspace, purge, self._hold, lambda what: say(f"{self.task_family}: {what}"))
                )
            )
            with Progress(self, "proof", unit="file") as progress:
                proof = finish(self.workspace, purge, progress)
            if proof.found:
                more = f"\n  ... and {len(proof.found) - _FOUND} more" if len(proof.found) > _FOUND else ""
                listed = "\n".join(f"  {line}" for line in proof.found[:_FOUND])
                raise DataError(
                    f"{len(proof.found)} of {proof.files} files of {self.workspace} still hold something of what was"
                    f" purged, or cannot be read:\n{listed}{more}\nrun the same command again; what it finds once more"
                    " vdv did not make, or the word means something else there: look, delete it, and run it again"
                )
            say(proof_text(purge.job, proof, self.workspace))

    def _planned(self) -> "Purge":
        from pipeline.purge.purge import plan_purge
        from pipeline.purge.request import Request

        return plan_purge(self.workspace, Request.of(self.clips, self.creators, self.list))

    def _hold(self, work: str) -> AbstractContextManager[None]:
        return held(self.workspace, work, self.task_family)

    def _manifest_lines(self, purge: "Purge") -> Iterable[str]:
        from pipeline.purge.census import manifest_lines

        return manifest_lines(purge.job.sources)
