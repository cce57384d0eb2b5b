"""New clips, scored with a run that is there."""

from functools import cached_property

import luigi

from models.weights.profiles import Profile
from pipeline.core.errors import DataError, ProfileError
from pipeline.core.fingerprint import fingerprint
from pipeline.dataset.folder import DatasetFolder
from pipeline.modalities.registry import load_profile
from pipeline.runs.run import SCORES, SCORES_CSV, Run
from pipeline.runs.runs import find_run
from tasks.console import Progress, say
from tasks.features import ExtractBatch, batch_files
from tasks.number_option import NumberOption
from tasks.options import ExtractOptions, snapshots
from tasks.run_options import RUN_HELP
from tasks.terminal_text import uploads_text

UPLOADS_VERSION = 2  # raised when what is written changes meaning


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

    @cached_property
    def found_run(self) -> str:
        return find_run(self.workspace, self.run_id)

    @cached_property
    def run_facts(self) -> dict:
        """The run's run.json."""
        return Run.of(self.workspace, self.found_run).read_about()

    @property
    def modalities(self) -> str:  # type: ignore[override]  # here no option: the run's
        return ",".join(self.run_facts["data"]["features"])

    @cached_property
    def loaded_profile(self) -> Profile:
        return load_profile(self._profile())

    def requires(self) -> list[luigi.Task]:
        names = ExtractBatch.get_param_names(include_significant=True)
        shared = {name: getattr(self, name) for name in names if name not in ("manifest", "profile")}
        profile = self._profile()
        return [ExtractBatch(manifest=seen.batch.path, profile=profile, **shared) for seen in snapshots(self.manifest)]

    def complete(self) -> bool:
        self._refuse_other_features()
        if self.uploads_id is None or not all(task.complete() for task in self.requires()):
            return False
        return self.uploads_folder().has(SCORES_CSV)

    @property
    def uploads_id(self) -> str | None:
        """None while a batch is still to be ingested."""
        batches = self.ingested(self.manifest)
        if batches is None:
            return None
        run = [self.found_run, self.run_facts["finished_at"]]
        return fingerprint({"version": UPLOADS_VERSION, "run": run, "batches": batches, "level": self.level})

    def uploads_folder(self) -> DatasetFolder:
        return DatasetFolder(self.workspace, f"uploads/{self.uploads_id}")

    def make(self) -> None:
        from pipeline.dataset.failures import refuse_too_many
        from pipeline.scoring.uploads import assemble_uploads, score_uploads

        files = [batch_files(self, seen) for seen in snapshots(self.manifest)]
        refuse_too_many(files, self.max_failed)
        folder = self.uploads_folder()
        with Progress(self, "assemble") as progress:
            assemble_uploads(folder, files, progress)
        score_uploads(folder, Run.of(self.workspace, self.found_run), self.torch_device, self.level or None)

    def summary(self) -> str:
        """The clips that are expected to do best, for the terminal."""
        folder = self.uploads_folder()
        return uploads_text(folder.read_table(SCORES), f"{folder.file(SCORES)} and {SCORES_CSV} beside it")

    def _profile(self) -> str:
        if self.profile:
            return self.profile
        name = " and ".join(self.run_facts["profiles"])
        try:
            return load_profile(name).name
        except ProfileError as error:
            raise DataError(
                f"run {self.run_id} was made with the profile {name!r}, which is none of vdv's own; give its TOML file"
                " with --profile"
            ) from error

    def _refuse_other_features(self) -> None:
        made = self.run_facts["data"]["features"]
        others = [spec.modality for spec in self.specs if made[spec.modality] not in (None, spec.fingerprint)]
        if others:
            raise DataError(
                f"run {self.run_id} learned from other {', '.join(others)} features than the profile"
                f" {self.loaded_profile.name} makes now: it was made with {' and '.join(self.run_facts['profiles'])},"
                " and since then the profile, its weights or vdv's features have changed. Give the run's own profile"
                " with --profile, or train a new run with BuildVDV"
            )


@ScoreUploads.event_handler(luigi.Event.SUCCESS)
def _scored(task: ScoreUploads) -> None:
    say(task.summary())


@ScoreUploads.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _nothing_to_do(task: ScoreUploads) -> None:
    say(f"nothing to do: every clip is scored\n{task.summary()}")
