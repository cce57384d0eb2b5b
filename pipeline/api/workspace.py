"""`Workspace`: what a workspace holds, as tables and tensors, and the commands that make more of it."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from pipeline.api.bars import are_seen
from pipeline.api.command_options import BuildOptions, FileName, ScoreOptions, refuse_unknown, words
from pipeline.api.command_process import run_command
from pipeline.core import storage
from pipeline.core.errors import DamagedFile, OptionError, VdvError, WorkspaceError
from pipeline.dataset.folder import CLIPS, STATISTICS, DatasetFolder
from pipeline.files.folder import Folder, only_looking
from pipeline.ingest.clip_table import newest_file, read_ingest
from pipeline.runs.purged import warn_if_purged
from pipeline.runs.run import PURGED, RUN, RUNS, SCORES, Run
from pipeline.runs.runs import LATEST, find_run, read_names

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from pipeline.api.clip_features import ClipFeatures

log = logging.getLogger(__name__)

_INGESTED = ("clip_id", "status", "code", "reason", "content_hash")  # columns of a dataset's clips that ingest knows
_PROBED = ("width", "height", "duration_s")
# Between two movements of the bars; the command's log is written as often, elsewhere to an object store.
_EVERY_S, _EVERY_S_ELSEWHERE = 1.0, 5.0


@dataclass(frozen=True, init=False, repr=False)
class Workspace:
    """A workspace, read as it is when it is asked; nothing is kept, and nothing is written but by `build` and `score`.

    Every method raises VdvError, or one of its kinds (pipeline.core.errors), with a message that says what to do;
    WorkspaceError where there is no workspace, or a file of it is damaged.
    """

    path: str  # folder or fsspec URL; of one that is yet to be made, too

    def __init__(self, path: FileName = "workspace"):
        given = os.fspath(path)
        if storage.is_local(given):  # a notebook may change its working folder, and nobody expands ~ in it
            given = os.path.abspath(os.path.expanduser(storage.local_path(given)))
        object.__setattr__(self, "path", given)

    def __repr__(self) -> str:
        try:
            lines = list(self._contents())
        except VdvError as error:
            lines = [str(error)]
        return "\n  ".join([f"Workspace({self.path!r})", *lines])

    @overload
    def clips(self, run: str | Run | None = None, *, arrow: Literal[False] = False) -> "pd.DataFrame": ...

    @overload
    def clips(self, run: str | Run | None = None, *, arrow: Literal[True]) -> "pa.Table": ...

    def clips(self, run: str | Run | None = None, *, arrow: bool = False) -> "pd.DataFrame | pa.Table":
        """The clips of the newest dataset, or of a run's: one a row, with status, code and label (docs/parquet.md).

        Before the first dataset is made: the ingested clips, without what only manifests and features say.

        arrow: an Arrow table in place of a pandas one.
        """
        dataset = self._dataset(run)
        if dataset is not None:
            return dataset.read_arrow(CLIPS) if arrow else dataset.read_clips()
        import pyarrow as pa

        table = pa.Table.from_pylist(list(self._ingested()))
        return table if arrow else table.to_pandas()

    def modalities(self, run: str | Run | None = None) -> list[str]:
        """The modalities that `features` takes: those extracted for the newest dataset, or for a run's."""
        from pipeline.api.clip_features import modalities_of

        return modalities_of(self._made_dataset(run).read_clips())

    def features(self, modality: str, run: str | Run | None = None) -> "ClipFeatures":
        """The features of the newest dataset's clips, or of a run's, in a modality: clip_id -> tensors.

        Raises OptionError or ProfileError where there is no such modality.
        """
        from pipeline.api.clip_features import ClipFeatures

        return ClipFeatures(self._made_dataset(run), modality)

    def runs(self) -> "pd.DataFrame":
        """The finished runs, in the order in which they ended: run, name, finished_at, dataset, trained_on, label,
        profiles, seed, purged (whether clips that the run was trained on were purged since).

        A run whose run.json is damaged is left out, with a warning.
        """
        import pandas as pd

        columns = ["run", "name", "finished_at", "dataset", "trained_on", "label", "profiles", "seed", "purged"]
        rows = sorted(self._finished(), key=lambda row: (row["finished_at"] or "", row["run"]))
        table = pd.DataFrame(rows, columns=columns)
        return table.assign(finished_at=pd.to_datetime(table["finished_at"]))

    def run(self, name_or_id: str | None = None) -> Run:
        """A finished run, by default that which was built last; of one trained on clips purged since, a warning.

        Raises OptionError where there is none; the message lists the others.
        """
        with only_looking():
            newest = self._latest().get("run", "").removeprefix(f"{RUNS}/")
            if name_or_id is None:
                name_or_id = newest or self._newest()
            run = Run.of(self.path, find_run(self.path, name_or_id))
        warn_if_purged(run)
        return run

    @overload
    def build(
        self, manifest: FileName | None = None, *, dry_run: Literal[False] = False, **options: Unpack[BuildOptions]
    ) -> Run: ...

    @overload
    def build(
        self, manifest: FileName | None = None, *, dry_run: Literal[True], **options: Unpack[BuildOptions]
    ) -> None: ...

    def build(
        self, manifest: FileName | None = None, *, dry_run: bool = False, **options: Unpack[BuildOptions]
    ) -> Run | None:
        """Run BuildVDV in a process of its own, with its progress here, and return the run; only what is new is made.

        Args:
            manifest: file, folder or glob; None: the demo world.
            dry_run: only print what would be done, and how long it would take.
            options: those of BuildVDV, with underscores (docs/running.md): `profile="full"`, `run_name="june"`.

        Raises:
            OptionError: there is no such option; nothing was started.
            VdvError: the command failed: of the class of its error, with its words. What was finished is kept.
            KeyboardInterrupt: Ctrl-C, or the kernel's interrupt, which have ended the command in order.
        """
        refuse_unknown(options, BuildOptions, "build")
        results = self._command("BuildVDV", {"manifest": manifest, "dry_run": dry_run, **options})
        return None if dry_run else Run.of(self.path, results["run"])

    def score(
        self, manifest: FileName, run: str | Run | None = None, **options: Unpack[ScoreOptions]
    ) -> "pd.DataFrame":
        """Run ScoreUploads as `build` does BuildVDV: extract new clips and score them, a row each (docs/running.md).

        Args:
            run: the finished run that scores them, by default the newest.
            options: those of ScoreUploads. Raises what `build` does.
        """
        refuse_unknown(options, ScoreOptions, "score")
        if manifest is None:  # as a variable that was not set
            raise OptionError("manifest is None; name the manifest of the clips to score")
        run_id = self._run(run).id
        results = self._command("ScoreUploads", {"manifest": manifest, "run_id": run_id, **options})
        return Folder(self.path, f"uploads/{results['uploads']}").read_table(SCORES)

    def _command(self, task: str, options: dict[str, Any]) -> dict[str, Any]:
        every_s = _EVERY_S if storage.is_local(self.path) else _EVERY_S_ELSEWHERE
        shown = {"progress_s": every_s} if are_seen() else {}
        return run_command(task, [*words({"workspace": self.path, **shown, **options})])

    def _run(self, run: str | Run | None) -> Run:
        return run if isinstance(run, Run) else self.run(run)

    def _dataset(self, run: str | Run | None = None) -> DatasetFolder | None:
        """The newest dataset, or a run's; None: there is none yet. Raises WorkspaceError where it is not there."""
        if run is not None:
            place = DatasetFolder.of(self.path, self._run(run).about["dataset"]).place
        elif latest := self._latest():
            place = latest["dataset"]
        else:
            return None
        dataset = DatasetFolder(self.path, place)
        if not dataset.has(CLIPS):
            raise WorkspaceError(f"{dataset.file(CLIPS)} is not there; BuildVDV makes it again")
        return dataset

    def _made_dataset(self, run: str | Run | None) -> DatasetFolder:
        dataset = self._dataset(run)
        if dataset is None:
            raise WorkspaceError(
                f"{self.path} has no dataset yet, which says whose features lie where; `build` makes one"
            )
        return dataset

    def _latest(self) -> dict[str, Any]:
        """Content of latest.json; {} where no build has ended yet. Raises WorkspaceError: there is no workspace."""
        try:
            return Folder(self.path).read_json(LATEST)
        except FileNotFoundError:
            pass
        if not any(storage.listing(storage.join(self.path, folder)) for folder in ("clips", RUNS)):
            raise WorkspaceError(
                f"{self.path} holds no workspace: neither clips/ nor runs/ is in it; check the path, or make one with"
                " `build`"
            )
        return {}

    def _ingested(self) -> Iterator[dict[str, Any]]:
        batches = {name.split("/")[0] for name in storage.listing(storage.join(self.path, "clips"))}
        for batch in sorted(batches):
            if newest := newest_file(self.path, batch):
                for clip in read_ingest(newest.path).clips:
                    facts = {name: getattr(clip, name) for name in _INGESTED}
                    yield {**facts, **{name: getattr(clip.probe, name) for name in _PROBED}, "batch": batch}

    def _finished(self) -> Iterator[dict[str, Any]]:
        self._latest()
        with only_looking():
            names = {run_id: name for name, run_id in read_names(self.path).items()}
        files = storage.listing(storage.join(self.path, RUNS))
        for run_id in (name.split("/")[0] for name in files if name.endswith(f"/{RUN}") and name.count("/") == 1):
            try:
                about = Run.of(self.path, run_id).read_json(RUN)
            except DamagedFile as damaged:
                log.warning(f"{damaged}; the run is left out")
                continue
            yield {
                "run": run_id,
                "name": names.get(run_id),
                "finished_at": about.get("finished_at"),  # runs of an older schema lack some
                "dataset": about.get("dataset"),
                "trained_on": about.get("trained_on"),
                "label": about.get("label", {}).get("kind"),
                "profiles": ", ".join(about.get("profiles", ())),
                "seed": about.get("seed"),
                "purged": f"{run_id}/{PURGED}" in files,
            }

    def _newest(self) -> str:
        """Id of the run that ended last, where no build says which is the newest."""
        rows = sorted((row["finished_at"] or "", row["run"]) for row in self._finished())
        if not rows:
            raise OptionError(f"{self.path} has no run yet; `build` trains one")
        return rows[-1][1]

    def _contents(self) -> Iterator[str]:
        """What is in the workspace, for people."""
        dataset = self._dataset()
        if dataset is None:
            yield f"{_counted(sum(1 for _ in self._ingested()), 'clip')} ingested, no dataset yet"
        else:
            about = dataset.read_json(STATISTICS)
            endings = ", ".join(f"{count} {status}" for status, count in about["status"].items())
            yield f"{_counted(about['clips'], 'clip')} of {_counted(len(about['challenges']), 'challenge')}: {endings}"
            yield "features: " + ", ".join(f"{name} of {count}" for name, count in about["modalities"].items())
        named = [f"{row['run']} ({row['name']})" if row["name"] else row["run"] for row in self._finished()]
        yield f"{_counted(len(named), 'run')}: {', '.join(named)}" if named else "no run yet"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
