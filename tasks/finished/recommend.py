"""Clips to show, from a finished run."""

import luigi

from pipeline.commands.command import Command
from pipeline.ingest.ids import canonical_id
from pipeline.runs.purged import warn_if_purged
from pipeline.runs.run import Run
from pipeline.runs.runs import find_run, read_names
from pipeline.scoring.recommendation_options import RecommendOptions, check_name, check_options, parse_weights
from tasks.console import Summary, finish
from tasks.option_types import RUN_HELP, AskedOption, DeviceOption, NumberOption
from tasks.terminal_text import recommendation_text


class Recommend(luigi.Task):
    """Picks clips worth showing from each challenge: the best by the modalities asked for, not all of one creator or
    look.

    For example: Recommend --run june --weights pose=2,scene=1 --top 5. Prints a table, and writes it as Parquet and
    JSON into runs/<id>/recommendations/. Trains nothing and takes seconds.
    """

    run_id = luigi.Parameter(description=RUN_HELP)
    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds the run")
    challenge = luigi.Parameter(default="", description="recommend clips of this challenge only; default: of each")
    weights = luigi.Parameter(
        default="fused=1",
        description="what makes a clip good, and how much each counts: pose (the dancing), appearance (clothes and"
        " picture), face, scene (the place), fused (the model's score of all), as in pose=2,scene=1",
    )
    top = NumberOption(int, 1, 10_000, default=10, description="most clips of a challenge")
    diversity = NumberOption(
        float, 0.0, 1.0, default=0.3,
        description="how much it counts that a clip looks unlike those above it: 0, only how good clips are; 1, only"
        " how different they are",
    )  # fmt: skip
    per_creator = NumberOption(
        int, 0, 10_000, default=1, description="most clips of one creator in a challenge; 0: no limit"
    )
    new_only = luigi.BoolParameter(
        description="only new uploads: clips for which the manifest has no likes, views, comments or shares yet"
    )
    since = luigi.Parameter(
        default="", description="only clips uploaded on this day or later, as in 2024-06-30, with likes or without"
    )
    uploads = luigi.Parameter(
        default="",
        description="recommend from new clips that ScoreUploads scored with this run: the id in the uploads/<id> that"
        " it prints; default: from the run's own clips",
    )
    name = luigi.Parameter(
        default="", description="what to call the files; what was called so before is replaced. Default: from options"
    )
    device = DeviceOption()
    asked = AskedOption[str]()

    def complete(self) -> bool:
        self._checked()  # a wrong option is an error before anything starts
        return False  # what is printed is made anew; it takes seconds

    def run(self) -> None:
        run_folder, options = self._checked()
        command = Command.begin(self.workspace, self.task_family)
        from models.device import resolve_device
        from pipeline.scoring.embeddings import read_embeddings, read_upload_embeddings
        from pipeline.scoring.recommendation import write_recommendation

        run = run_folder.about
        if run["untrained"]:
            from pipeline.runs.train import warn_if_untrained

            warn_if_untrained(run)
        warn_if_purged(run_folder)
        read = read_upload_embeddings if options.uploads else read_embeddings
        embeddings = read(options.folder(self.workspace, run), run_folder, resolve_device(self.device))
        made = write_recommendation(run_folder, embeddings, options, self.name)
        names = {run_id: name for name, run_id in read_names(self.workspace).items()}
        lines = recommendation_text(made, options, names.get(run_folder.id, run_folder.id))
        written = [made.parquet, f"{made.parquet.removesuffix('.parquet')}.json"]
        results = {"run": run_folder.id, "clips": int(made.table["place"].notna().sum())}
        finish(command, Summary(lines, {"written": written}, {"results": results}))

    def _checked(self) -> tuple[Run, RecommendOptions]:
        """The run's folder, and what is asked of it."""
        options = RecommendOptions(
            weights=parse_weights(self.weights),
            challenge=canonical_id(self.challenge),
            top=self.top,
            diversity=self.diversity,
            per_creator=self.per_creator,
            new_only=self.new_only,
            since=self.since,
            uploads=self.uploads.strip("/").removeprefix("uploads/"),
        )
        if self.name:
            check_name(self.name)
        run_folder = Run.of(self.workspace, find_run(self.workspace, self.run_id))
        check_options(run_folder, options)
        return run_folder, options
