"""New clips, scored with a run that is there."""

from typing import Any, Self

import luigi

from models.weights.profiles import Profile
from pipeline.core.fingerprint import fingerprint
from pipeline.dataset.folder import CLIPS, FACES, REFERENCES, STATISTICS, DatasetFolder
from pipeline.features.chosen import Features
from pipeline.runs.purged import purged_text
from pipeline.runs.run import SCORES, SCORES_ABOUT, SCORES_CSV, Run
from pipeline.runs.runs import find_run
from pipeline.scoring.run_features import run_features, run_profile
from tasks.console import Progress, Summary
from tasks.features import ExtractOptions, batch_files, extractions
from tasks.option_types import RUN_HELP, NumberOption
from tasks.options import changed_meanwhile
from tasks.terminal_text import uploads_text

UPLOADS_VERSION = 5  # raised when what is written changes meaning


class ScoreUploads(ExtractOptions):
    """Extracts and scores the clips of a manifest with a finished run; trains nothing, and asks for no likes."""

    manifest = luigi.Parameter(description="manifest file of the new clips, folder of them, or glob")
    run_id = luigi.Parameter(description=RUN_HELP)
    profile = luigi.Parameter(
        default="", description="the run's, unless given; of a profile of your own give the TOML file"
    )
    level = NumberOption(
        float, 0.0, 0.999, default=0.0, description="share of clips that the intervals are to hold; 0: the run's"
    )
    max_failed = NumberOption(
        float, 0.0, 1.0, default=0.5, description="fail when a larger share failed; fewer are listed without a score"
    )

    @property
    def run_folder(self) -> Run:
        return Run.of(self.workspace, find_run(self.workspace, self.run_id))

    @property
    def modalities(self) -> str:  # type: ignore[override]  # here no option: the run's
        return ",".join(self.run_folder.about["data"]["features"])

    def choose_features(self) -> Features:
        return run_features(self.run_folder, self.run_id, self._profile())

    def with_snapshot(self, **options: Any) -> Self:
        # A name may be given to another run meanwhile.
        return super().with_snapshot(run_id=self.run_folder.id, profile=self.profile or self._profile().name, **options)

    @property
    def work(self) -> str:
        return self.uploads_folder().place

    def needs(self) -> list[luigi.Task]:
        return [*extractions(self)]

    def done(self) -> bool:
        return self.uploads_id is not None and all(task.done() for task in extractions(self)) and self.made()

    def made(self) -> bool:
        if self.uploads_id is None:
            return False
        folder = self.uploads_folder()
        about = folder.read_intact_json(SCORES_ABOUT)
        intact = folder.are_all_intact(STATISTICS, CLIPS, FACES, REFERENCES, SCORES)
        return intact and about is not None and folder.have_hashes(about["files"])

    @property
    def uploads_id(self) -> str | None:
        """None while a batch is still to be ingested."""
        batches = self.ingested()
        if batches is None:
            return None
        run = [self.run_folder.id, self.run_folder.about["finished_at"]]
        return fingerprint({"version": UPLOADS_VERSION, "run": run, "batches": batches, "level": self.level})

    def uploads_folder(self) -> DatasetFolder:
        uploads_id = self.uploads_id
        if uploads_id is None:
            raise changed_meanwhile(self.manifest)
        return DatasetFolder(self.workspace, f"uploads/{uploads_id}")

    def make(self) -> None:
        from pipeline.dataset.failures import refuse_too_many
        from pipeline.scoring.uploads import Compared, assemble_uploads, score_uploads

        files = [batch_files(self, seen) for seen in self.snapshot.batches]
        refuse_too_many(files, self.max_failed)
        folder = self.uploads_folder()
        with Progress(self, "assemble and score") as progress:
            assemble_uploads(folder, files, progress, Compared.of(self.run_folder))
            score_uploads(folder, self.run_folder, self.torch_device, self.level or None)

    def amount(self) -> dict[str, Any]:
        clips = sum(len(seen.batch.rows) for seen in self.snapshot.batches)
        return {"amount": clips, "unit": "clip", "device": self.torch_device.type}

    def summary(self) -> Summary:
        """The clips that are expected to do best, for the terminal."""
        folder = self.uploads_folder()
        lines = [*uploads_text(folder.read_table(SCORES)), *filter(None, [purged_text(self.run_folder)])]
        content = {**self.clip_endings(), "results": {"uploads": folder.id, "run": self.run_folder.id}}
        return Summary(lines, {"scores": [folder.file(SCORES), folder.file(SCORES_CSV)]}, content)

    def _profile(self) -> Profile:
        return run_profile(self.run_folder, self.run_id, self.profile)
