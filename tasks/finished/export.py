"""A finished run's clips and its model, for other programs."""

from collections.abc import Mapping

import luigi

from pipeline.commands.command import Command
from pipeline.core.errors import OptionError
from pipeline.core.options import DecodeLimits
from pipeline.export.folder import check_out
from pipeline.files.folder import Folder
from pipeline.runs.purged import warn_if_purged
from pipeline.runs.run import Run
from pipeline.runs.runs import LATEST, find_run
from tasks.console import Progress, Summary, finish
from tasks.option_types import RUN_HELP, AskedOption, ChoiceOption, PatternsOption, progress_option

OUT_HELP = "folder to write to, outside the workspace; it is not there, empty, or an earlier export, which is replaced"


class ExportTask(luigi.Task):
    """What exports share."""

    run_id = luigi.Parameter(default="", description=f"{RUN_HELP}; default: the newest run")
    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds the run")
    out = luigi.Parameter(description=OUT_HELP)
    asked = AskedOption[str]()

    def complete(self) -> bool:
        self.check_options()  # a wrong option is an error before anything starts
        return False  # made anew each time

    def check_options(self) -> None:
        self.run_folder()
        check_out(self.out, self.workspace)

    def run_folder(self) -> Run:
        return Run.of(self.workspace, find_run(self.workspace, self.run_id or newest_run(self.workspace)))


def newest_run(workspace: str) -> str:
    """Id of the newest run.

    Raises:
        OptionError: no build has finished.
    """
    latest = Folder(workspace).read_intact_json(LATEST)
    if latest is None:
        raise OptionError(f"{workspace} has no {LATEST}, which names the newest run; name one with --run")
    return latest["run"].rsplit("/", 1)[-1]


class ExportDataset(ExportTask):
    """Writes a run's clips with features, labels and scores for Hugging Face, WebDataset, FiftyOne or a spreadsheet.

    For example: ExportDataset --run june --to huggingface --out june-hf. Embeddings and pictures of faces, and the
    films, go along only where they are asked for.
    """

    to = ChoiceOption(
        "huggingface",
        "webdataset",
        "fiftyone",
        "csv",
        description="huggingface: a folder for datasets.load_dataset; webdataset: tar shards; fiftyone: a"
        " FiftyOneDataset on disk; csv: one table, for spreadsheets and R",
    )
    modalities = luigi.Parameter(
        default="", description="whose features go along, comma-separated; default: all that were extracted"
    )
    with_films = luigi.BoolParameter(description="copy the clips' films, too; they show people")
    with_biometrics = luigi.BoolParameter(
        description="export embeddings and pictures of faces, too, by which people can be recognised"
    )
    allow_uri = PatternsOption(
        description="pattern of films' uris that are read beyond local files, object stores and https from public"
        " addresses; * is any text. May be given several times"
    )
    progress_s = progress_option()

    def check_options(self) -> None:
        super().check_options()
        if self.to == "csv" and self.with_films:
            raise OptionError("--with-films: a CSV file has no place for films; leave it out, or choose another --to")
        if self.to in ("csv", "fiftyone") and self.with_biometrics:
            raise OptionError(
                f"--with-biometrics: {self.to} takes no embeddings or pictures of faces; leave it out, or choose"
                " huggingface or webdataset"
            )

    def run(self) -> None:
        from pipeline.export.contents import read_contents
        from pipeline.export.dataset import export_dataset

        run_folder, out = self.run_folder(), check_out(self.out, self.workspace)
        command = Command.begin(self.workspace, self.task_family)
        warn_if_purged(run_folder)
        wanted = [name.strip() for name in self.modalities.split(",") if name.strip()]
        contents = read_contents(run_folder, wanted, self.with_biometrics)
        films = DecodeLimits(allow_uri=self.allow_uri) if self.with_films else None
        with Progress(self, "export") as progress:
            exported = export_dataset(contents, self.to, out, films, progress)
        results = {"run": run_folder.id, "format": self.to, **vars(exported)}
        lines = [f"exported {exported.clips} clips as {self.to}: {counted(exported.splits)}"]
        if exported.without_film:
            lines.append(f"without their film: {counted(exported.without_film)} (docs/clip-endings.md says what to do)")
        finish(command, Summary(lines, {"written": str(out)}, {"results": results}))


class ExportModel(ExportTask):
    """Writes a run's scoring model for other runtimes, and checks that it scores as the run does.

    For example: ExportModel --run june --to onnx --out june-onnx. Nothing is written of a model whose scores of the
    run's own clips differ.
    """

    to = ChoiceOption("onnx", description="onnx: a model.onnx with a description of its inputs")

    def run(self) -> None:
        from pipeline.export.onnx_model import export_model

        run_folder, out = self.run_folder(), check_out(self.out, self.workspace)
        command = Command.begin(self.workspace, self.task_family)
        warn_if_purged(run_folder)
        exported = export_model(run_folder, out)
        results = {"run": run_folder.id, "format": self.to, **vars(exported)}
        line = (
            f"exported the model; on {exported.clips} clips its scores differ from the run's by"
            f" {exported.difference:.1g} at most, where {exported.tolerance:g} is let pass"
        )
        finish(command, Summary([line], {"written": str(out)}, {"results": results}))


def counted(numbers: Mapping[str, int]) -> str:
    """train 60, test 36."""
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
