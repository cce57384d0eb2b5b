"""Clips taken out of a workspace for good: the task, and what it prints."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import luigi

from pipeline.commands.command import Command, Stage
from pipeline.core.errors import DataError
from pipeline.core.text import visible
from pipeline.files.folder import only_looking
from pipeline.ingest.tombstones import JOB
from tasks.console import Progress, Summary, fail, finish, say
from tasks.option_types import AskedOption, PatternsOption, SeveralOption, progress_option
from tasks.options import held
from tasks.terminal_text import LISTED, dry_run_text

if TYPE_CHECKING:
    from pipeline.purge.job import Job, Place
    from pipeline.purge.proof import Proof
    from pipeline.purge.purge import Purge


class PurgeClips(luigi.Task):
    """Takes clips out of a workspace, whatever was made of them, and proves it; they do not come in again.

    For example: PurgeClips --creators u042 --dry-run, then without --dry-run. Which clips by one of --clips, --creators
    and --list. Manifests and the clips' own files are not touched; where they name a clip is said.
    """

    clips = SeveralOption(default=(), description="clip_ids: --clips a,b or --clips a --clips b")
    creators = PatternsOption("creator_id whose clips are all to go; may be given several times")
    list = luigi.Parameter(
        default="", description="a CSV file of clip_ids: its column clip_id, or one id a line without a header"
    )
    workspace = luigi.Parameter(default="workspace", description="folder or fsspec URL that holds everything made")
    progress_s = progress_option()
    dry_run = luigi.BoolParameter(description="only say what would be done, file by file; nothing is written")
    asked = AskedOption[str]()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.stage = Stage(None, self.task_family, "")

    def complete(self) -> bool:
        self._planned()  # a wrong option or an unknown id is an error before anything starts
        return False

    def run(self) -> None:
        if self.dry_run:
            with only_looking():
                say("\n".join(self._dry_run_lines()))
            return
        command = Command.begin(self.workspace, self.task_family)
        self.stage = Stage(command, self.task_family, "")
        results: Counter[str] = Counter()  # numbers only: what is left of the command names no clip, creator or file
        try:
            with self.stage, held(self.workspace, JOB, self.task_family):
                lines = self._purge(results)
                self.stage.measure(amount=results["files_read"], unit="file", device="cpu")
        except BaseException as error:
            fail(command, error, {"results": results})
            raise
        finish(command, Summary(lines, {}, {"results": results}))

    def _dry_run_lines(self) -> Iterator[str]:
        from pipeline.purge.commands import recorded_exports
        from pipeline.purge.purge import find_places

        purge = self._planned()
        yield dry_run_text(self.task_family, self.workspace)
        yield from purge_text(purge.job, purge.interrupted, self._manifest_lines(purge))
        yield from places_text(find_places(self.workspace, purge))
        yield from exports_text(recorded_exports(self.workspace))

    def _purge(self, results: Counter[str]) -> Sequence[str]:
        """Do what was asked, and what an interrupted purge left to do; lines on the proofs. Counts into the results."""
        from pipeline.purge.commands import recorded_exports
        from pipeline.purge.purge import carry_out, conclude, jobs

        lines = []
        exports = recorded_exports(self.workspace)  # now: records of those whose folder names a clip are deleted
        results["exports"] = len(exports)
        say("\n".join(exports_text(exports)))
        for purge in jobs(self._planned()):
            job = purge.job
            say("\n".join(purge_text(job, purge.interrupted, self._manifest_lines(purge))))
            results.update(clips=len(job.clip_ids), copies=len(job.copies), creators=len(job.creators))
            places = carry_out(self.workspace, purge, self._hold, lambda what: say(f"{self.task_family}: {what}"))
            say("\n".join(places_text(places)))
            results.update(place.action for place in places)
            with Progress(self, "proof", unit="file") as progress:
                proof = conclude(self.workspace, purge, progress)
            results.update(files_read=proof.files, bytes_read=proof.size_bytes, found=len(proof.found))
            if proof.found:
                raise DataError(not_proven_text(proof, self.workspace))
            lines.append(proof_text(job, proof, self.workspace))
        return lines

    def _planned(self) -> "Purge":
        from pipeline.purge.purge import plan_purge
        from pipeline.purge.request import Request

        return plan_purge(self.workspace, Request.of(self.clips, self.creators, self.list))

    def _hold(self, work: str) -> AbstractContextManager[None]:
        return held(self.workspace, work, self.task_family)

    def _manifest_lines(self, purge: "Purge") -> Iterable[str]:
        from pipeline.purge.census import manifest_lines

        return manifest_lines(purge.job.sources)


def purge_text(job: "Job", interrupted: "Job | None", manifest_lines: Iterable[str]) -> list[str]:
    """What is purged, what goes with it and what does not, and where the user's own files still name it."""
    lines = [f"purging {_clips(len(job.clip_ids))}: {_few(job.clip_ids)}"]
    if interrupted == job:
        lines.append("this purge was interrupted before, and goes on")
    elif interrupted is not None:
        lines.append(f"before it, the purge that was interrupted: {_clips(len(interrupted.clip_ids))}")
    if job.copies:
        lines.append(f"of them not asked for, but the same file as one that was: {_few(job.copies)}")
    if job.alike:
        lines.append(
            f"these show the same pictures as one of them and stay; name them to purge them: {_few(job.alike)}"
        )
    if named := list(manifest_lines):
        lines.append("yours, and left as they are: manifests that name them, and the clips' files:")
        lines += _first(named, LISTED)
    return lines


def places_text(places: Iterable["Place"]) -> list[str]:
    """Every place, and what becomes of it."""
    listed = list(places)
    lines = [f"  {place.action:<9}  {place.path}" + (f": {place.why}" if place.why else "") for place in listed]
    counts = Counter(place.action for place in listed)
    total = ", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "nothing to change"
    return [*lines, f"files: {total}"]


def exports_text(places: Sequence[str]) -> list[str]:
    """That nobody looks into exports, and which there were; nothing where no record tells of one."""
    if not places:
        return []
    return [f"not searched: exports, which may still hold what is purged: {_few(places)}; delete them, or export anew"]


def _clips(count: int) -> str:
    return f"{count} clip{'' if count == 1 else 's'}"


def _few(ids: Sequence[str]) -> str:
    return ", ".join(map(visible, ids[:LISTED])) + (f" and {len(ids) - LISTED} more" if len(ids) > LISTED else "")


def _first(lines: Sequence[str], count: int) -> list[str]:
    more = [f"  ... and {len(lines) - count} more"] if len(lines) > count else []
    return [*(f"  {line}" for line in lines[:count]), *more]


def proof_text(job: "Job", proof: "Proof", workspace: str) -> str:
    """What was looked for, in how much, and that it is not there."""
    counts = {"id": len(job.clip_ids), "content hash": len(job.contents), "creator": len(job.creators)}
    what = [f"{count} {name}" + ("" if count == 1 else "es" if name.endswith("sh") else "s")
            for name, count in counts.items() if count]  # fmt: skip
    return (
        f"proof: {proof.files} files of {workspace} read ({proof.size_bytes / 1e6:.1f} MB); none of"
        f" {', '.join(what)} is in them. tombstones.json holds salted hashes, by which the clips are refused"
    )


def not_proven_text(proof: "Proof", workspace: str) -> str:
    """Where something was found after all, and what to do."""
    listed = "\n".join(_first(proof.found, LISTED))
    return (
        f"{len(proof.found)} of {proof.files} files of {workspace} still hold something of what was purged, or cannot"
        f" be read:\n{listed}\nrun the same command again; what it finds once more vdv did not make, or the word means"
        " something else there: look, delete it, and run it again"
    )
