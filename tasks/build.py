"""The whole of it: raw clips in, scores and a report out."""

import math
from typing import Any

import luigi

from pipeline.core.errors import DataError
from pipeline.files.folder import Folder
from pipeline.runs.run import METRICS
from pipeline.runs.runs import LATEST, check_name, latest, name_run, read_names
from tasks.console import GONE, Summary
from tasks.model import RenderReport, ReportOptions
from tasks.terminal_text import (
    DEMO_PROFILE_NOTE,
    build_text,
    ceiling_text,
    dataset_text,
    fused_metrics,
    not_judged_text,
)
from tasks.world import world_of


class BuildVDV(ReportOptions):
    """From the clips of a manifest to a trained model, scores and a report. Does only what is not done yet."""

    def needs(self) -> luigi.Task:
        return self.clone(RenderReport)

    def done(self) -> bool:
        if self.run_name:
            # Which run it will be is known once the clips are looked at; then a name that is taken stops it early.
            check_name(self.workspace, self.run_name, self._run_id() if self.dataset_id else None)
        return super().done()

    def made(self) -> bool:
        root = Folder(self.workspace)
        return (
            super().made()
            and root.read_intact_json(LATEST) == self._latest()
            and (not self.run_name or read_names(self.workspace).get(self.run_name) == self._run_id())
        )

    def make(self) -> None:
        if not (self.dataset_done() and super().made()):  # the run was deleted while this command waited for its turn
            raise DataError(GONE)
        Folder(self.workspace).write_json(LATEST, self._latest())
        if self.run_name:
            name_run(self.workspace, self._run_id(), self.run_name)

    def amount(self) -> dict[str, Any]:
        return {"amount": 0}  # a name, and a line in latest.json

    def summary(self) -> Summary:
        """What the run found, in a few lines for the terminal."""
        folder, content = self.run_folder(), self.dataset_content()
        metrics = folder.read_json(METRICS)
        ceiling, notes = self._ceiling(), self._notes()
        lines = build_text(dataset_text(content), metrics, [*ceiling_text(ceiling), *notes])
        results = {
            "run": folder.id,
            "dataset": self.dataset_folder().id,
            "ranking": fused_metrics(metrics),
            "ceiling": ceiling,
            "notes": [*not_judged_text(metrics.get("folds") or {}), *notes],
        }
        return Summary(lines, {"report": folder.file(self.product)}, {**content, "results": results})

    def _worlds_of_batches(self) -> list[str | None]:
        return [world_of(seen.batch.path) for seen in self.snapshot.batches]

    def _ceiling(self) -> float:
        """The Spearman correlation that the best possible predictor would reach; NaN where that is not known."""
        worlds = [world for world in self._worlds_of_batches() if world]
        # With the context, what could be said of a clip by its content is not what there is to beat.
        if self.with_context or len(worlds) < len(self.snapshot.batches):
            return math.nan
        from simulation.ceiling import ceiling_of_run

        return ceiling_of_run(worlds, self.run_folder())

    def _notes(self) -> list[str]:
        real = not all(self._worlds_of_batches())
        return [DEMO_PROFILE_NOTE] if real and self.loaded_profile.name == "demo" else []

    def _latest(self) -> dict[str, str]:
        return latest(self.dataset_folder().place, self.run_folder().place)

    def _run_id(self) -> str:
        return self.run_folder().id
