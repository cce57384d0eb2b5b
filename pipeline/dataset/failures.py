"""Failed clips: their limit, and those to try again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.core import storage
from pipeline.core.errors import CLIP_CODES, TooManyFailed
from pipeline.dataset.folder import BatchFiles
from pipeline.features.endings import read_endings
from pipeline.features.plan import shard_path
from pipeline.ingest.clip_table import IngestedBatch, read_ingest
from pipeline.ingest.tombstones import PURGED

_LISTED = 10  # clips in one message


@dataclass(frozen=True)
class Outcome:
    """A clip's ending, known from its probe or from its decoding."""

    clip_id: str
    status: str  # ok, partial or failed
    code: str  # one of errors.CLIP_CODES; empty for ok
    reason: str

    @property
    def retryable(self) -> bool:
        return self.status == "failed" and CLIP_CODES[self.code].retryable


def outcomes(ingest: IngestedBatch, endings_folder: str) -> Iterator[Outcome]:
    """The outcome of each clip of a batch; clips of shards not yet extracted are left out."""
    by_shard: dict[str, set[str]] = {}
    for clip in ingest.clips:
        if clip.shard is None:
            yield Outcome(clip.clip_id, clip.status, clip.code, clip.reason)
        else:
            by_shard.setdefault(clip.shard, set()).add(clip.clip_id)
    present = storage.listing(endings_folder)
    for shard, clip_ids in by_shard.items():
        if f"{shard}.parquet" in present:
            for ending in read_endings(shard_path(endings_folder, shard)):
                if ending.clip_id in clip_ids:
                    yield Outcome(ending.clip_id, ending.status, ending.code, ending.reason)


def failures(ingest: IngestedBatch, endings_folder: str) -> list[Outcome]:
    """The clips of a batch that failed before or in decoding; shards not yet extracted are left out."""
    return [outcome for outcome in outcomes(ingest, endings_folder) if outcome.status == "failed"]


def refuse_too_many(batches: Sequence[BatchFiles], max_failed: float) -> None:
    """Raise TooManyFailed when more than a share of all clips failed; lists them and gives advice.

    Purged clips do not count.
    """
    every = [failure for files in batches for failure in failures(read_ingest(files.ingest), files.endings)]
    failed = [failure for failure in every if failure.code != PURGED]  # on purpose, and nothing to mend
    total = sum(len(files.batch.rows) for files in batches)
    if len(failed) <= max_failed * total:
        return
    counts = ", ".join(f"{count} {code}" for code, count in Counter(failure.code for failure in failed).most_common())
    listed = "\n".join(f"  {failure.clip_id}: {failure.code}: {failure.reason}" for failure in failed[:_LISTED])
    more = f"\n  and {len(failed) - _LISTED} more" if len(failed) > _LISTED else ""
    retry = sum(failure.retryable for failure in failed)
    again = f"; {retry} of them may pass another time: add --retry-failed" if retry else ""
    raise TooManyFailed(
        f"{len(failed)} of {total} clips failed ({counts}), more than --max-failed {max_failed:g} allows{again}; "
        f"mend or remove the clips, or raise --max-failed:\n{listed}{more}"
    )
