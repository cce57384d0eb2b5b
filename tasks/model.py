"""From a dataset to scores that people look at: train, score, evaluate, report."""

import luigi

from pipeline import storage
from pipeline.errors import OptionError
from pipeline.fingerprint import fingerprint
from pipeline.run_files import TABLE
from tasks.console import Progress, say
from tasks.features import AssembleDataset, DatasetOptions
from tasks.number_option import NumberOption

MODEL_VERSION = 3  # raised when the networks, the training or the scores change meaning


class RunStage(DatasetOptions):
    """A stage of one run, a model trained on one dataset. Its folder is `runs/<id>/`."""

    seed = NumberOption(
        int, 0, 2**31 - 1, default=0, description="of the model's initialisation and of the order of training"
    )
    epochs = NumberOption(int, 1, 100_000, default=12, description="passes over the training clips")
    protocol = luigi.ChoiceParameter(
        choices=["kfold", "time", "leave-challenge-out"],
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

    product = ""  # the file in the run's folder that says that this stage is done
    shows_ablations = False  # whether the stage comes after them, where they are asked for

    def run_folder(self) -> str:
        parts = {"version": MODEL_VERSION, "dataset": self.dataset_id, "seed": self.seed, "epochs": self.epochs}
        parts |= {"protocol": self.protocol, "folds": self.folds, "permuted": self.permuted}
        return f"runs/{fingerprint(parts)}"

    @property
    def fold_workers(self) -> int:
        """Folds at a time: one on a GPU; on a CPU one a core, for one core trains about as fast as two."""
        from models.device import resolve_device

        return self.worker_count if resolve_device(self.device).type == "cpu" else 1

    def complete(self) -> bool:
        # The dataset stands for all before it: a shard that was deleted is made again though the run is there.
        products = [self.product, *([RunAblations.product] if self.ablations and self.shows_ablations else [])]
        folder = storage.join(self.workspace, self.run_folder())
        return self.dataset_complete() and all(storage.exists(storage.join(folder, name)) for name in products)


class TrainFusion(RunStage):
    """Trains PSGCN, RTCN and the attentive fusion on the dataset's training clips."""

    product = "run.json"

    def requires(self) -> luigi.Task:
        return self.clone(AssembleDataset)

    def make(self) -> None:
        from models.config import VdvConfig
        from models.device import resolve_device
        from pipeline.train import train_fusion

        storage.remove_stale(self.workspace)
        modalities = tuple(recipe.modality for recipe in self.recipes)
        config = VdvConfig(modalities=modalities, seed=self.seed, epochs=self.epochs)
        train_fusion(self.workspace, self.dataset_folder(), self.run_folder(), config, resolve_device(self.device))


class CrossValidate(RunStage):
    """Trains once more for each fold of the protocol and scores its clips; everything the model must beat, too."""

    product = "folds.json"

    def requires(self) -> luigi.Task:
        return self.clone(TrainFusion)

    def make(self) -> None:
        from models.device import resolve_device
        from pipeline.evaluate import judge_training

        with Progress(self, "cross-validate", unit="fold") as progress:
            judge_training(
                self.workspace, self.dataset_folder(), self.run_folder(), resolve_device(self.device), self.protocol,
                self.folds, self.fold_workers, progress, self.permuted,
            )  # fmt: skip


class ScoreClips(RunStage):
    """Scores every clip of the dataset, with or without engagement."""

    product = "scores.parquet"

    def requires(self) -> luigi.Task:
        return self.clone(CrossValidate if self.folds else TrainFusion)

    def make(self) -> None:
        from models.device import resolve_device
        from pipeline.score import score_clips

        score_clips(self.workspace, self.dataset_folder(), self.run_folder(), resolve_device(self.device))


class RunAblations(RunStage):
    """Trains variants of the model, each without one of its ideas, on the folds that judge the run."""

    product = "ablations.parquet"

    def requires(self) -> luigi.Task:
        if not self.folds:
            raise OptionError("--ablations are judged by folds; give --folds a number from 2 on, not 0")
        return self.clone(CrossValidate)

    def make(self) -> None:
        from models.device import resolve_device
        from pipeline.ablations import run_ablations

        with Progress(self, "ablations", unit="training") as progress:
            run_ablations(
                self.workspace, self.dataset_folder(), self.run_folder(), resolve_device(self.device),
                self.fold_workers, progress,
            )  # fmt: skip


class EvaluateRun(RunStage):
    """Compares scores with labels on the clips that training did not see."""

    product = "metrics.json"
    shows_ablations = True

    def requires(self) -> list[luigi.Task]:
        stages: list[luigi.Task] = [self.clone(ScoreClips)]
        if self.ablations:
            stages.append(self.clone(RunAblations))
        return stages

    def make(self) -> None:
        from pipeline.evaluate import evaluate_run

        evaluate_run(self.workspace, self.dataset_folder(), self.run_folder())
        table = storage.join(self.workspace, self.run_folder(), f"{TABLE}.md")
        if self.folds and storage.exists(table):
            say(f"the model and what it must beat: {table}")


class RenderReport(RunStage):
    """Writes the run's one-file HTML report."""

    product = "report.html"
    shows_ablations = True

    def requires(self) -> luigi.Task:
        return self.clone(EvaluateRun)

    def make(self) -> None:
        from pipeline.report import render

        render(self.workspace, self.dataset_folder(), self.run_folder())
