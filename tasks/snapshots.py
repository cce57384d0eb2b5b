"""Snapshot of what a command builds from. It is taken once a command, and handed from task to task as a parameter.

So all tasks of a command agree on what there is, however manifests, clips and profiles change meanwhile and whichever
process runs them; and the next command, in the same process or not, looks again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.core.fingerprint import fingerprint
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.features.chosen import Features
from pipeline.features.plan import endings_folder
from pipeline.files.folder import discard
from pipeline.ingest.clip_table import IngestedBatch, newest_file, read_ingest
from pipeline.ingest.ingest_batch import ingest_fingerprint, without_purged
from pipeline.ingest.manifest import Batch, read_manifests
from pipeline.ingest.signatures import clip_signatures, file_signature
from pipeline.ingest.tombstones import NO_TOMBSTONES, Tombstones
from tasks.option_types import AskedOption


@dataclass(frozen=True)
class Retry:
    """Clips of a batch to begin anew though nothing of them has changed."""

    clip_ids: tuple[str, ...] = ()
    after: int = 0  # sequence number of the ingest table in which they failed: a later table has begun them anew


@dataclass(frozen=True)
class BatchSnapshot:
    """A batch, and its clips' files as they were."""

    batch: Batch
    signatures: tuple[str, ...]  # of the files at the rows' uris; pipeline.ingest.signatures
    ingest: str  # fingerprint of the ingest table that they make
    retry: Retry
    left_out: int = 0  # rows of the manifest that are not in the batch, for their clips were purged

    @cached_property
    def token(self) -> str:
        """Hash of all of it."""
        retry = [*self.retry.clip_ids, self.retry.after]
        return fingerprint([self.batch.path, self.batch.content_hash, self.ingest, retry])


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Batches as they were, and the features that are to be made of them."""

    batches: tuple[BatchSnapshot, ...]
    features: Features | None = None  # None: for tasks that make none

    # Luigi keeps each task whose parameters can be hashed, and would keep the manifests of every command with it.
    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def token(self) -> str:
        """Hash of all of it; in the ids of the tasks that are given the snapshot."""
        parts = [batch.token for batch in self.batches]
        if self.features:
            parts += [self.features.profile.name, *(spec.fingerprint for spec in self.features.specs)]
        return fingerprint(parts)

    @property
    def left_out(self) -> int:
        """Rows of the manifests that are in no batch, for their clips were purged."""
        return sum(batch.left_out for batch in self.batches)

    def of(self, batch: BatchSnapshot) -> "Snapshot":
        return Snapshot((batch,), self.features)

    def without_features(self) -> "Snapshot":
        return Snapshot(self.batches)


def take_snapshot(
    manifest: str,
    shard_clips: int,
    limits: DecodeLimits,
    features: Features | None = None,
    retry: Callable[[Batch], Retry] = lambda batch: Retry(),
    tombstones: Tombstones = NO_TOMBSTONES,
) -> Snapshot:
    """Of every batch of a manifest file, folder or glob. Raises ManifestError where any row of any file is wrong.

    retry: names the clips to begin anew. tombstones: of the workspace; the clips that they refuse are left out.
    """
    batches = []
    for read in read_manifests(manifest):
        batch = without_purged(read, tombstones)
        signatures = tuple(clip_signatures(batch.rows["uri"].tolist(), limits))
        table = ingest_fingerprint(batch, shard_clips, signatures)
        batches.append(BatchSnapshot(batch, signatures, table, retry(batch), len(read.rows) - len(batch.rows)))
    return Snapshot(tuple(batches), features)


class SnapshotOption(AskedOption[Snapshot | str]):
    """The snapshot that a task works on. A task that a person asked for has none, and holds the mark in its place."""

    def normalize(self, x: Snapshot | str) -> Snapshot | str:
        return x if isinstance(x, Snapshot) else super().normalize(x)

    def serialize(self, x: Snapshot | str) -> str:
        return x.token if isinstance(x, Snapshot) else x


def ingest_table(path: str) -> IngestedBatch:
    """A table of `clips/<batch>/`, read again only where the file is another."""
    return _read_table(path, file_signature(path))


@lru_cache(maxsize=512)
def _read_table(path: str, signature: str) -> IngestedBatch:
    return read_ingest(path)


def failed_before(workspace: str, batch: Batch, sampling: SamplingOptions) -> Retry:
    """The clips of a batch that failed last time for a reason that may have passed."""
    from pipeline.dataset.failures import failures

    newest = newest_file(workspace, batch.name)
    if newest is None:
        return Retry()
    endings = endings_folder(workspace, batch.name, sampling)
    try:
        found = failures(read_ingest(newest.path, other_version_ok=True), endings)
    except DamagedFile as damaged:
        discard(damaged)
        return Retry() if storage.exists(newest.path) else failed_before(workspace, batch, sampling)
    clip_ids = {failure.clip_id for failure in found if failure.retryable} & set(batch.rows["clip_id"])
    return Retry(tuple(sorted(clip_ids)), newest.sequence) if clip_ids else Retry()
