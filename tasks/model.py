"""From a dataset to scores that people look at: train, score, evaluate, report."""

from typing import Any

import luigi

from models.virality.config import EPOCHS, VdvConfig
from pipeline.core import storage
from pipeline.core.errors import OptionError
from pipeline.core.fingerprint import fingerprint
from pipeline.runs.run import (
    ABLATIONS,
    EMBEDDINGS,
    FEEDBACK,
    FOLDS,
    FOLDS_ABOUT,
    HELD_OUT,
    METRICS,
    MODEL,
    REPORT,
    RUN,
    SCORES,
    TABLE,
    Run,
)
from pipeline.runs.runs import read_names
from pipeline.training.loggers import parse_trackers
from tasks.console import Progress, Summary, say
from tasks.features import AssembleDataset, DatasetOptions
from tasks.option_types import ChoiceOption, NumberOption, PatternsOption
from tasks.terminal_text import dataset_text, not_judged_text

MODEL_VERSION = 15  # raised when the networks, the training or the scores change meaning
REPORT_VERSION = 6  # raised when the page shows other things, or shows them otherwise
REPORT_ABOUT = "report.json"  # in the run's folder, written last: what the report there shows


def _is_trained(folder: Run) -> bool:
    return folder.are_all_intact(RUN, MODEL, HELD_OUT)


def _is_cross_validated(folder: Run) -> bool:
    about = folder.read_intact_json(FOLDS_ABOUT)
    scores = folder.is_intact(FOLDS)
    return about is not None and (scores or not about["clips"])


def _is_scored(folder: Run) -> bool:
    return folder.is_intact(SCORES)


def _is_evaluated(folder: Run) -> bool:
    metrics = folder.read_intact_json(METRICS)
    return metrics is not None and folder.have_hashes(metrics["files"])


_STAGES = (_is_trained, _is_cross_validated, _is_scored, _is_evaluated)


class RunStage(DatasetOptions):
    """A stage of one run, a model trained on one dataset. Its folder is `runs/<id>/`."""

    seed = NumberOption(
        int, 0, 2**31 - 1, default=0, description="of the model's initialisation and of the order of training"
    )
    epochs = NumberOption(
        int, 0, 100_000, default=0, description="passes over the training clips; 0: 9, and more of few clips' poses"
    )
    protocol = ChoiceOption(
        "kfold",
        "time",
        "leave-challenge-out",
        default="kfold",
        description="how the training is judged: by folds of creators; on the latest 1/folds of the uploads, trained on"
        " those before; or on one challenge at a time, trained on the others",
    )
    folds = NumberOption(
        int, 0, 100, default=3, description="folds by creator that judge the training; 0: the clips held out alone"
    )
    permuted = luigi.BoolParameter(
        description="the folds also train on permuted labels, which must come out at chance; doubles their time"
    )
    ablations = luigi.BoolParameter(
        significant=False,
        description="variants of the model, each without one of its ideas, are trained on the same folds: hours",
    )
    ablation_seeds = NumberOption(
        int, 1, 100, default=1, significant=False,
        description="with how many seeds --ablations trains each variant and the model, the run's and those after it",
    )  # fmt: skip
    ablation_variants = luigi.Parameter(
        default="",
        significant=False,
        description="which of the --ablations, comma-separated, by their names in ablations.parquet; default: all",
    )

    logger = PatternsOption(
        description="a service that the training is logged to, beside TensorBoard's logs in the run's folder:"
        " mlflow:URI or wandb:PROJECT. May be given several times; changes no result"
    )

    product = ""  # the file in the run's folder that says that this stage is done
    stages = 0  # how many of _STAGES are to be made
    shows_ablations = False  # whether the stage comes after them, where they are asked for

    def run_folder(self) -> Run:
        parts = {"version": MODEL_VERSION, "dataset": self.dataset_id, "seed": self.seed, "epochs": self.epochs}
        parts |= {"protocol": self.protocol, "folds": self.folds, "permuted": self.permuted,
                  "context": self.with_context}  # fmt: skip
        return Run.of(self.workspace, fingerprint(parts))

    def check_options(self) -> None:
        super().check_options()
        parse_trackers(self.logger)  # a package that is missing is found before all the training

    @property
    def work(self) -> str:
        return self.run_folder().place  # for all stages, and for deleting it

    @property
    def fold_workers(self) -> int:
        """Folds at a time: one on a GPU; on a CPU one a core, for one core trains about as fast as two."""
        return self.worker_count if self.torch_device.type == "cpu" else 1

    def done(self) -> bool:
        # With all before it: a shard or a run.json that was deleted is made again though the report is there.
        return self.dataset_done() and self.made()

    def made(self) -> bool:
        shown = self.ablations and self.shows_ablations
        return self.stages_done() and (not shown or self.ablations_done())

    def stages_done(self) -> bool:
        """Whether the files of this stage and of those before it are there and as they were written."""
        folder = self.run_folder()
        stages = (stage for stage in _STAGES[: self.stages] if self.folds or stage is not _is_cross_validated)
        made = [is_made(folder) for is_made in stages]  # all are asked, so that all that is damaged is named at once
        return all(made)

    def amount(self) -> dict[str, Any]:
        return {**super().amount(), "device": self.torch_device.type}

    def trainings(self, unit: str, times: int = 1) -> dict[str, Any]:
        """An amount of work by clips and epochs. unit: the words for it. times: trainings, each on nearly all clips."""
        amount = super().amount()["amount"] * (self.epochs or EPOCHS) * times
        return {"amount": amount, "unit": unit, "device": self.torch_device.type}

    def summary(self) -> Summary:
        content = self.dataset_content()
        folder = self.run_folder()
        lines = [*dataset_text(content), *self.folds_text()]
        return Summary(lines, {"made": folder.file(self.product)}, {**content, "results": {"run": folder.id}})

    def folds_text(self) -> list[str]:
        """A line that says why no folds judged the run; none where some did, or where none were asked for."""
        run = self.run_folder()
        asked = self.folds and run.has(FOLDS_ABOUT)
        return not_judged_text(run.read_json(FOLDS_ABOUT)) if asked else []

    @property
    def ablation_names(self) -> list[str]:
        return [name.strip() for name in self.ablation_variants.split(",") if name.strip()]

    def ablations_done(self) -> bool:
        """Whether ablations are there, of as many seeds and of the variants that are asked for, or of more."""
        folder = self.run_folder()
        made = folder.read_intact_json(RunAblations.product)
        if made is None or not folder.is_intact(f"{ABLATIONS}.parquet") or not folder.have_hashes(made["files"]):
            return False
        wanted = set(self.ablation_names)
        return made["seeds"] >= self.ablation_seeds and (wanted <= set(made["variants"]) if wanted else made["all"])

    def config(self) -> VdvConfig:
        """What the run is trained with."""
        return VdvConfig(
            modalities=self.features.modalities, seed=self.seed, epochs=self.epochs or None, context=self.with_context
        )


class TrainFusion(RunStage):
    """Trains PSGCN, RTCN and the joint model on the dataset's training clips."""

    product = RUN
    stages = 1

    def needs(self) -> luigi.Task:
        return self.clone(AssembleDataset)

    def make(self) -> None:
        from pipeline.runs.train import train_fusion

        with Progress(self, "train", unit="network") as progress:
            train_fusion(
                self.dataset_folder(), self.run_folder(), self.config(), self.torch_device,
                progress, parse_trackers(self.logger),
            )  # fmt: skip

    def amount(self) -> dict[str, Any]:
        return self.trainings("clip and epoch")


class CrossValidate(RunStage):
    """Trains once more for each fold of the protocol and scores its clips; everything the model must beat, too."""

    product = FOLDS_ABOUT
    stages = 2

    def needs(self) -> luigi.Task:
        return self.clone(TrainFusion)

    def make(self) -> None:
        from pipeline.evaluation.evaluate import cross_validate_run

        with Progress(self, "cross-validate", unit="fold") as progress:
            cross_validate_run(
                self.dataset_folder(), self.run_folder(), self.torch_device, self.protocol,
                self.folds, self.fold_workers, progress, self.permuted, self.cluster,
            )  # fmt: skip

    def amount(self) -> dict[str, Any]:
        return self.trainings(f"clip, epoch and fold ({self.protocol}{', permuted' * self.permuted})", self.folds)


class ScoreClips(RunStage):
    """Scores every clip of the dataset, with or without engagement."""

    product = SCORES
    stages = 3

    def needs(self) -> luigi.Task:
        return self.clone(CrossValidate if self.folds else TrainFusion)

    def make(self) -> None:
        from pipeline.scoring.scores import score_clips
        from pipeline.training.checkpoints import CHECKPOINTS, clear

        clear(self.run_folder().file(CHECKPOINTS))
        with Progress(self, "score"):
            score_clips(self.dataset_folder(), self.run_folder(), self.torch_device)


class RunAblations(RunStage):
    """Trains variants of the model, each without one of its ideas, on the folds that judge the run."""

    product = f"{ABLATIONS}.json"
    stages = 2

    def needs(self) -> luigi.Task:
        if not self.folds:
            raise OptionError("--ablations are judged by folds; give --folds a number from 2 on, not 0")
        if self.ablation_names:
            from pipeline.evaluation.ablations import choose_variants

            choose_variants(self.config(), self.ablation_names)  # a wrong name is found before all the training
        return self.clone(CrossValidate)

    def made(self) -> bool:
        return super().made() and self.ablations_done()

    def amount(self) -> dict[str, Any]:
        return {}  # of variants some are trained in minutes, and some in hours

    def make(self) -> None:
        from pipeline.evaluation.ablations import run_ablations

        with Progress(self, "ablations", unit="training") as progress:
            run_ablations(
                self.dataset_folder(), self.run_folder(), self.torch_device,
                self.fold_workers, progress, self.ablation_seeds, self.ablation_names, self.cluster,
            )  # fmt: skip


class EvaluateRun(RunStage):
    """Compares scores with labels on the clips that training did not see."""

    product = METRICS
    stages = 4
    shows_ablations = True

    def needs(self) -> list[luigi.Task]:
        stages: list[luigi.Task] = [self.clone(ScoreClips)]
        if not self.ablations and (self.ablation_names or self.ablation_seeds > 1):
            raise OptionError("--ablation-seeds and --ablation-variants say how --ablations are made; give that, too")
        if self.ablations:
            stages.append(self.clone(RunAblations))
        return stages

    def make(self) -> None:
        from pipeline.evaluation.evaluate import evaluate_run
        from pipeline.training.checkpoints import ABLATIONS_CHECKPOINTS, clear

        if self.ablations:
            clear(self.run_folder().file(ABLATIONS_CHECKPOINTS))
        with Progress(self, "evaluate"):
            evaluate_run(self.dataset_folder(), self.run_folder(), parse_trackers(self.logger))
        table = self.run_folder().file(f"{TABLE}.md")
        if self.folds and storage.exists(table):
            say(f"the model and what it must beat: {table}")


class ReportOptions(RunStage):
    """What the report shows. None of it is a part of the run: another choice makes the report anew, and no more.

    Another name does not even that: the page says what the run was called when it was made, and its id.
    """

    report_faces = ChoiceOption(
        "blur",
        "none",
        "show",
        default="blur",
        significant=False,
        description="faces in the report: blur; none: no pictures of clips at all, only skeletons; show: as they are",
    )
    report_films = NumberOption(
        int, 0, 10_000, default=120, significant=False,
        description="clips of which the report shows a few frames, decoded once more: samples, and the best and the"
        " worst of each challenge; 0: no pictures",
    )  # fmt: skip
    run_name = luigi.Parameter(
        default="", significant=False, description="what to call the run, unique in the workspace; renames one"
    )

    product = REPORT
    stages = 4
    shows_ablations = True

    def made(self) -> bool:
        folder = self.run_folder()
        about = folder.read_intact_json(REPORT_ABOUT) if super().made() else None
        return about is not None and about["shown"] == self.shown() and folder.have_hashes(about["files"])

    def shown(self) -> dict[str, Any]:
        """What decides what the report shows beside the run itself; kept beside the report."""
        feedback = storage.listing(self.run_folder().file(FEEDBACK), recursive=False)
        return {
            "version": REPORT_VERSION,
            "faces": self.report_faces,
            "films": self.report_films,
            "ablations": self.run_folder().read_intact_json(RunAblations.product),
            "feedback": {name: size for name, size in sorted(feedback.items()) if name.endswith(".json")},
        }

    def called(self) -> str | None:
        """The name that the run has, or is to get."""
        run_id = self.run_folder().id
        return self.run_name or next((name for name, of in read_names(self.workspace).items() if of == run_id), None)


class RenderReport(ReportOptions):
    """Writes the run's one-file HTML report, and figures beside it."""

    def needs(self) -> luigi.Task:
        return self.clone(EvaluateRun)

    def make(self) -> None:
        from pipeline.evaluation.figures import FIGURES, KINDS, draw_figures
        from pipeline.report.render import Sources, render

        clips = self.dataset_folder().read_clips()
        hashes = dict(zip(clips["clip_id"], clips["content_hash"], strict=True))
        films: dict[str, tuple[str, str]] = {}
        for seen in self.snapshot.batches:
            rows = seen.batch.rows
            uris = zip(rows["clip_id"], rows["uri"], strict=True)
            films |= {name: (uri, hashes[name]) for name, uri in uris if name in hashes}
        with Progress(self, "report") as progress:
            render(
                self.dataset_folder(), self.run_folder(), self.torch_device,
                self.report_faces, self.report_films, Sources(films, self.sampling, self.limits, self.worker_count),
                self.called(), progress,
            )  # fmt: skip
        figures = draw_figures(self.run_folder())
        drawn = (f"{FIGURES}/{name}.{kind}" for name in figures for kind in KINDS)
        kept = [EMBEDDINGS] if self.run_folder().has(EMBEDDINGS) else []
        files = self.run_folder().hashes(REPORT, *kept, *drawn)
        self.run_folder().write_json(REPORT_ABOUT, {"shown": self.shown(), "files": files})
