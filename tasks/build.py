"""The whole of it: raw clips in, scores and a report out."""

import json

import luigi

from pipeline import storage
from tasks.console import say
from tasks.model import RenderReport, RunStage


class BuildVDV(RunStage):
    """From the clips of a manifest to a trained model, scores and a report. Does only what is not done yet."""

    product = "report.html"

    def requires(self) -> luigi.Task:
        return self.clone(RenderReport)

    def complete(self) -> bool:
        path = storage.join(self.workspace, "latest.json")
        return super().complete() and storage.exists(path) and json.loads(storage.read_bytes(path)) == self._latest()

    def make(self) -> None:
        latest = json.dumps(self._latest(), indent=1) + "\n"
        storage.write_bytes(storage.join(self.workspace, "latest.json"), latest.encode())

    def summary(self) -> str:
        """What the run found, in a few lines for the terminal."""
        statistics = json.loads(
            storage.read_bytes(storage.join(self.workspace, self.dataset_folder(), "statistics.json"))
        )
        endings = ", ".join(f"{count} {status}" for status, count in statistics["status"].items())
        return f"clips: {endings}\nreport: {storage.join(self.workspace, self.run_folder(), self.product)}"

    def _latest(self) -> dict[str, str]:
        return {
            "dataset": self.dataset_folder(),
            "run": self.run_folder(),
            "report": f"{self.run_folder()}/{self.product}",
        }


@BuildVDV.event_handler(luigi.Event.SUCCESS)
def _built(task: BuildVDV) -> None:
    say(task.summary())


@BuildVDV.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _nothing_to_do(task: BuildVDV) -> None:
    say(f"nothing to do: every clip, feature and score is up to date\n{task.summary()}")
