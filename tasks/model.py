"""From a dataset to scores that people look at: train, score, evaluate, report."""

import luigi

from pipeline import storage
from pipeline.fingerprint import fingerprint
from tasks.console import Progress
from tasks.features import AssembleDataset, DatasetOptions
from tasks.number_option import NumberOption

MODEL_VERSION = 2  # raised when the networks, the training or the scores change meaning


class RunStage(DatasetOptions):
    """A stage of one run, a model trained on one dataset. Its folder is `runs/<id>/`."""

    seed = NumberOption(
        int, 0, 2**31 - 1, default=0, description="of the model's initialisation and of the order of training"
    )
    epochs = NumberOption(int, 1, 100_000, default=12, description="passes over the training clips")
    folds = NumberOption(
        int, 0, 100, default=3, description="folds by creator that judge the training; 0: the clips held out alone"
    )

    product = ""  # the file in the run's folder that says that this stage is done

    def run_folder(self) -> str:
        parts = {"version": MODEL_VERSION, "dataset": self.dataset_id, "seed": self.seed, "epochs": self.epochs}
        parts["folds"] = self.folds
        return f"runs/{fingerprint(parts)}"

    def complete(self) -> bool:
        # The dataset stands for all before it: a shard that was deleted is made again though the run is there.
        return self.dataset_complete() and storage.exists(storage.join(self.workspace, self.run_folder(), self.product))


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


class ScoreClips(RunStage):
    """Scores every clip of the dataset, with or without engagement."""

    product = "scores.parquet"

    def requires(self) -> luigi.Task:
        return self.clone(TrainFusion)

    def make(self) -> None:
        from models.device import resolve_device
        from pipeline.score import score_clips

        score_clips(self.workspace, self.dataset_folder(), self.run_folder(), resolve_device(self.device))


class EvaluateRun(RunStage):
    """Compares scores with labels on the clips that training did not see."""

    product = "metrics.json"

    def requires(self) -> luigi.Task:
        return self.clone(ScoreClips)

    def make(self) -> None:
        from models.device import resolve_device
        from pipeline.evaluate import evaluate_run

        device = resolve_device(self.device)
        # One fold at a time on a GPU; on a CPU as many as there are cores, for one core trains about as fast as two.
        workers = self.worker_count if device.type == "cpu" else 1
        with Progress(self, "evaluate", unit="fold") as progress:
            evaluate_run(
                self.workspace, self.dataset_folder(), self.run_folder(), device, self.folds, workers, progress
            )


class RenderReport(RunStage):
    """Writes the run's one-file HTML report."""

    product = "report.html"

    def requires(self) -> luigi.Task:
        return self.clone(EvaluateRun)

    def make(self) -> None:
        from pipeline.report import render

        render(self.workspace, self.dataset_folder(), self.run_folder())
