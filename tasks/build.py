"""The whole of it: raw clips in, scores and a report out."""

import luigi

from pipeline.core.workspace import Folder
from pipeline.runs.run import METRICS
from pipeline.runs.runs import LATEST, check_name, latest, name_run, read_names
from tasks.console import say, time_spent
from tasks.model import RenderReport, ReportOptions
from tasks.options import snapshots
from tasks.terminal_text import DEMO_PROFILE_NOTE, build_text, ceiling_text
from tasks.world import world_of


class BuildVDV(ReportOptions):
    """From the clips of a manifest to a trained model, scores and a report. Does only what is not done yet."""

    def requires(self) -> luigi.Task:
        return self.clone(RenderReport)

    def complete(self) -> bool:
        if self.run_name:
            # Which run it will be is known once the clips are looked at; then a name that is taken stops it early.
            check_name(self.workspace, self.run_name, self._run_id() if self.dataset_id else None)
        root = Folder(self.workspace)
        return (
            super().complete()
            and root.has(LATEST)
            and root.read_json(LATEST) == self._latest()
            and (not self.run_name or read_names(self.workspace).get(self.run_name) == self._run_id())
        )

    def make(self) -> None:
        Folder(self.workspace).write_json(LATEST, self._latest())
        if self.run_name:
            name_run(self.workspace, self._run_id(), self.run_name)

    def summary(self) -> str:
        """What the run found, in a few lines for the terminal."""
        statistics, metrics = self.dataset_folder().read_statistics(), self.run_folder().read_json(METRICS)
        return build_text(
            statistics, metrics, self._ceiling_or_note(), time_spent(), self.run_folder().file(self.product)
        )

    def _ceiling_or_note(self) -> list[str]:
        worlds = [world_of(seen.batch.path) for seen in snapshots(self.manifest)]
        if not all(worlds):
            return [DEMO_PROFILE_NOTE] if self.loaded_profile.name == "demo" else []
        from simulation.ceiling import ceiling_of_run

        return [ceiling_text(ceiling_of_run([world for world in worlds if world], self.run_folder()))]

    def _latest(self) -> dict[str, str]:
        return latest(self.dataset_folder().place, self.run_folder().place)

    def _run_id(self) -> str:
        return self.run_folder().id


@BuildVDV.event_handler(luigi.Event.SUCCESS)
def _built(task: BuildVDV) -> None:
    say(task.summary())


@BuildVDV.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _nothing_to_do(task: BuildVDV) -> None:
    say(f"nothing to do: every clip, feature and score is up to date\n{task.summary()}")
