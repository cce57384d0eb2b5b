"""The proof of a purge: every file of the workspace read, and nothing found of what was taken out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.core import storage
from pipeline.ingest.tombstones import JOB
from pipeline.purge.job import Job
from pipeline.purge.search import Needles, search_file


@dataclass(frozen=True)
class Proof:
    """What was looked through, and where something was found."""

    files: int
    size_bytes: int
    found: tuple[str, ...]  # a line each: file, place in it, what


def needles_of(job: Job, known: Iterable[str]) -> Needles:
    """What must not be there any more once the job is done. known: ids of all clips, of those that stay at least."""
    gone = frozenset((*job.clip_ids, *job.contents))
    return Needles(gone, frozenset(job.creators), frozenset(known) - gone)


def prove(workspace: str, needles: Needles, progress: Callable[[int, int], None] = lambda *_: None) -> Proof:
    """Look through all files of a workspace but the one of the job itself, which is deleted after the proof.

    progress: called with files read and files in all.
    """
    files = {name: size for name, size in storage.listing(workspace).items() if name != JOB}
    found = []
    for read, name in enumerate(sorted(files), start=1):
        if hit := search_file(storage.join(workspace, name), needles):
            found.append(f"{name}: {hit[1]}: {hit[0]}")
        progress(read, len(files))
    return Proof(len(files), sum(files.values()), tuple(found))
