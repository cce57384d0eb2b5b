"""The whole of it: raw clips in, scores and a report out."""

import luigi

from pipeline.core.errors import DataError
from pipeline.files.folder import Folder
from pipeline.runs.run import METRICS
from pipeline.runs.runs import LATEST, check_name, latest, name_run, read_names
from tasks.console import GONE, time_spent
from tasks.model import RenderReport, ReportOptions
from tasks.terminal_text import DEMO_PROFILE_NOTE, build_text, ceiling_text
from tasks.world import world_of


class BuildVDV(ReportOptions):
    """From the clips of a manifest to a trained model, scores and a report. Does only what is not done yet."""

    def needs(self) -> luigi.Task:
        return self.clone(RenderReport)

    def done(self) -> bool:
        if self.run_name:
            # Which run it will be is known once the clips are looked at; then a name that is taken stops it early.
            check_name(self.workspace, self.run_name, self._run_id() if self.dataset_id else None)
        root = Folder(self.workspace)
        return (
            super().done()
            and root.read_intact_json(LATEST) == self._latest()
            and (not self.run_name or read_names(self.workspace).get(self.run_name) == self._run_id())
        )

    def make(self) -> None:
        if not super().done():  # the run was deleted while this command waited for its turn
            raise DataError(GONE)
        Folder(self.workspace).write_json(LATEST, self._latest())
        if self.run_name:
            name_run(self.workspace, self._run_id(), self.run_name)

    def summary(self) -> str:
        """What the run found, in a few lines for the terminal."""
        metrics = self.run_folder().read_json(METRICS)
        report = self.run_folder().file(self.product)
        return build_text(self.dataset_text(), metrics, self._ceiling_or_note(), time_spent(self.began), report)

    def _ceiling_or_note(self) -> list[str]:
        if self.with_context:  # what could be said of a clip by its content is not what there is to beat
            return []
        worlds = [world_of(seen.batch.path) for seen in self.snapshot.batches]
        if not all(worlds):
            return [DEMO_PROFILE_NOTE] if self.loaded_profile.name == "demo" else []
        from simulation.ceiling import ceiling_of_run

        return ceiling_text(ceiling_of_run([world for world in worlds if world], self.run_folder()))

    def _latest(self) -> dict[str, str]:
        return latest(self.dataset_folder().place, self.run_folder().place)

    def _run_id(self) -> str:
        return self.run_folder().id
