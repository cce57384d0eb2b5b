"""Amounts of work on clips: what was done of it, and what is left to do."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core.errors import DamagedFile
from pipeline.core.options import SamplingOptions
from pipeline.features.plan import FeatureSpec, ShardPlan, plan_shards
from pipeline.ingest.clip_table import IngestedBatch, IngestedClip, read_ingest
from pipeline.ingest.ingest_batch import known_clips
from pipeline.ingest.manifest import Batch
from pipeline.ingest.signatures import stated_bytes


@dataclass(frozen=True)
class ClipWork:
    """Clips to be read, or that were."""

    clips: int = 0
    shards: int = 0
    video_s: float = 0.0  # of what is decoded, as the containers state it; nothing beyond the profile's max_seconds
    bytes: int = 0  # of the clips' files
    unstated: int = 0  # clips of which the container does not state how long they are; they are not in video_s


@dataclass(frozen=True)
class BatchWork:
    """What is to be done of one batch."""

    batch: str
    clips: int  # in the manifest
    unprobed: int  # clips of which nothing is known yet but their files' sizes
    unprobed_bytes: int  # of those whose store states their sizes
    unprobed_unsized: int  # the other ones
    decoded: ClipWork  # each clip once, for whichever modalities lack it; of the clips that are probed
    modalities: Mapping[str, ClipWork] = field(default_factory=dict)  # the same a modality; each that was asked for

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not self.unprobed and not self.decoded.shards


def shards_work(plans: Sequence[ShardPlan], sampling: SamplingOptions) -> tuple[ClipWork, dict[str, ClipWork]]:
    """The work on shards: each clip once, and by modality."""
    modalities = dict.fromkeys(spec.modality for plan in plans for spec in plan.missing)
    lacking = {
        modality: [plan for plan in plans if any(spec.modality == modality for spec in plan.missing)]
        for modality in modalities
    }
    by_modality = {modality: _work(of_it, sampling) for modality, of_it in lacking.items()}
    return _work(plans, sampling), by_modality


def batch_work(
    workspace: str,
    batch: Batch,
    table: str | None,
    shard_clips: int,
    signatures: Sequence[str],
    retry: Collection[str],
    specs: Sequence[FeatureSpec],
    sampling: SamplingOptions,
) -> BatchWork:
    """What is to be done of a batch. Nothing is written, but a damaged shard is removed as planning always does.

    Args:
        table: path of the batch's table where it is up to date; None: the batch is still to be ingested.
        signatures: of the files at the rows' uris.
        retry: clip_ids to begin anew.
        specs: of the modalities that are asked for; none: for the ingest alone.
    """
    if table is not None:
        known = read_ingest(table)
    else:
        try:
            known = known_clips(workspace, batch, shard_clips, signatures, retry)
        except DamagedFile:  # of which whoever planned has warned: all is to be probed
            known = IngestedBatch((), {})
    probed = {clip.clip_id for clip in known.clips}
    rows = zip(batch.rows["clip_id"], signatures, strict=True)
    sizes = [stated_bytes(signature) for clip_id, signature in rows if clip_id not in probed]
    plans = plan_shards(workspace, batch.name, known, specs, sampling).shards if specs else ()
    decoded, modalities = shards_work(plans, sampling)
    return BatchWork(
        batch.name,
        len(batch.rows),
        len(sizes),
        sum(size for size in sizes if size is not None),
        sum(size is None for size in sizes),
        decoded,
        {spec.modality: modalities.get(spec.modality, ClipWork()) for spec in specs},
    )


def _work(plans: Sequence[ShardPlan], sampling: SamplingOptions) -> ClipWork:
    clips = [clip for plan in plans for clip in plan.clips]
    return ClipWork(
        len(clips),
        len(plans),
        round(_video_s(clips, sampling), 3),
        sum(clip.probe.size_bytes for clip in clips),
        sum(not clip.probe.duration_s for clip in clips),
    )


def _video_s(clips: Iterable[IngestedClip], sampling: SamplingOptions) -> float:
    return sum(min(clip.probe.duration_s, sampling.max_seconds) for clip in clips)
