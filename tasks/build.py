"""The whole of it: raw clips in, scores and a report out."""

import luigi

from pipeline.core.workspace import Folder
from pipeline.runs.run import METRICS
from pipeline.runs.runs import LATEST, check_name, latest, name_run, read_names
from tasks.console import say, time_spent
from tasks.model import RenderReport, ReportOptions
from tasks.options import snapshots
from tasks.world import world_of


class BuildVDV(ReportOptions):
    """From the clips of a manifest to a trained model, scores and a report. Does only what is not done yet."""

    def requires(self) -> luigi.Task:
        return self.clone(RenderReport)

    def complete(self) -> bool:
        if self.run_name:
            # Which run it will be is known once the clips are looked at; then a name that is taken stops it early.
            check_name(self.workspace, self.run_name, self._run_id() if self.dataset_id else None)
        root = Folder(self.workspace)
        return (
            super().complete()
            and root.has(LATEST)
            and root.read_json(LATEST) == self._latest()
            and (not self.run_name or read_names(self.workspace).get(self.run_name) == self._run_id())
        )

    def make(self) -> None:
        Folder(self.workspace).write_json(LATEST, self._latest())
        if self.run_name:
            name_run(self.workspace, self._run_id(), self.run_name)

    def summary(self) -> str:
        """What the run found, in a few lines for the terminal."""
        statistics, metrics = self.dataset_folder().read_statistics(), self.run_folder().read_json(METRICS)
        endings = ", ".join(f"{count} {status}" for status, count in statistics["status"].items())
        lines = [f"clips: {endings}", *copies(statistics["copies"])]
        lines += [f"ranking: {ranking(metrics)}", *self._against_truth()]
        if time_spent():
            lines += ["time:", time_spent()]
        return "\n".join([*lines, f"report: {self.run_folder().file(self.product)}"])

    def _against_truth(self) -> list[str]:
        """Of a simulated world, what the best possible predictor would reach; of real clips, what not to trust."""
        worlds = [world_of(seen.batch.path) for seen in snapshots(self.manifest)]
        if not all(worlds):
            if self.loaded_profile.name == "demo":
                return ["NOTE: the profile demo knows rendered dancers only; use --profile full for real clips"]
            return []
        from simulation.ceiling import ceiling_of_run

        ceiling = ceiling_of_run([world for world in worlds if world], self.run_folder())
        return [f"         the best possible predictor reaches {ceiling:.2f} on the same clips (docs/demo-world.md)"]

    def _latest(self) -> dict[str, str]:
        return latest(self.dataset_folder().place, self.run_folder().place)

    def _run_id(self) -> str:
        return self.run_folder().id


def copies(found: dict[str, int]) -> list[str]:
    """A line on uploads that are there more than once, from statistics.json; none where there are none."""
    words = {
        "of_a_file": ("1 upload is a copy of another's file", "{} uploads are copies of others' files"),
        "near": ("1 upload is a near-copy of another", "{} uploads are near-copies of others"),
    }
    told = [one if found[kind] == 1 else many.format(found[kind]) for kind, (one, many) in words.items() if found[kind]]
    return [f"copies: {', '.join(told)}; they share folds"] if told else []


def ranking(metrics: dict) -> str:
    """How the fused score agrees with the likes of clips by creators never seen, from metrics.json."""
    judged = metrics["folds"] if metrics.get("folds", {}).get("clips") else metrics["splits"]["test"]
    fused = judged["predictors"]["fused"]["mean"]
    if fused["spearman"] is None:
        return f"not judged: {fused['reason']}"
    interval = "({:.2f} to {:.2f}) ".format(*fused["spearman_95"]) if fused.get("spearman_95") else ""
    return (
        f"Spearman {fused['spearman']:.2f} {interval}within a challenge, on {fused['n']} clips of creators never seen"
    )


@BuildVDV.event_handler(luigi.Event.SUCCESS)
def _built(task: BuildVDV) -> None:
    say(task.summary())


@BuildVDV.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _nothing_to_do(task: BuildVDV) -> None:
    say(f"nothing to do: every clip, feature and score is up to date\n{task.summary()}")
