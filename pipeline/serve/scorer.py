"""Scores of clips as requests bring them: probed, decoded, extracted and scored as uploads are, then forgotten.

    probe (killable workers) -> decode and extract (killable workers, the networks' thread) -> score (one thread)

What lies between is files in a folder of this process, of the formats that a workspace has.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.dataset.folder import BatchFiles, DatasetFolder
from pipeline.decode.clips import Ending, Probe
from pipeline.decode.pool import DecodePool
from pipeline.extraction.extract import extract_shards
from pipeline.features.chosen import Features
from pipeline.features.endings import read_endings
from pipeline.features.plan import ShardPlan, endings_folder, features_folder, shard_path
from pipeline.ingest.clip_table import IngestedBatch, IngestedClip, clips_folder, write_ingest
from pipeline.ingest.manifest import Batch, clip_batch
from pipeline.ingest.tombstones import read_tombstones, refused
from pipeline.modalities.registry import build_extractor
from pipeline.runs.run import Run
from pipeline.scoring.uploads import Compared, Judge, assemble_uploads
from pipeline.serve.answers import Judged, is_disk_full
from pipeline.serve.line import Job, Line
from pipeline.serve.options import ServeOptions
from pipeline.serve.uris import trusted

if TYPE_CHECKING:
    import torch

    from models.extractors.extractor import Extractor

log = logging.getLogger(__name__)

_BATCH = "served"
_ILL = 3  # clips in a row that ended by an error of this program, and not by one of theirs


def decode_limits(options: ServeOptions) -> DecodeLimits:
    """Limits of one clip, wherever it comes from."""
    return DecodeLimits(
        deadline_s=options.deadline_s,
        memory_limit_mb=options.memory_limit_mb,
        fetch_limit_mb=options.max_mb,
        allow_uri=trusted(options.allow_uri),
    )


class Scorer:
    """A run's networks, decode workers and model, ready for clips. Whoever made this closes it.

    Args:
        scratch: folder of this process alone.
        broken: called when nothing more can be scored.
    """

    def __init__(
        self,
        options: ServeOptions,
        run_folder: Run,
        features: Features,
        device: "torch.device",
        scratch: Path,
        broken: Callable[[], None],
    ) -> None:
        self._options, self._features, self._device = options, features, device
        self._limits = decode_limits(options)
        self._workspace, self._broken = str(scratch / "workspace"), broken
        self._lock = threading.Lock()  # guards the counts
        self._jobs = 0
        self._failed_in_row = 0
        self.judge = Judge.of(run_folder, device, options.level or None)
        self._compared = Compared.of(run_folder)
        build = {spec.modality: self._extractor(spec.modality) for spec in features.specs}
        self._scoring = ThreadPoolExecutor(1, "score")
        most = 2 * options.workers
        self._extraction = Line("extract", most, lambda jobs: self._extract(jobs, build), self._end, self._break)
        self._probing = Line("probe", most, self._probe, self._end, self._break)

    def _extractor(self, modality: str) -> "Extractor":
        return build_extractor(modality, self._features.profile, self._device, self._options.weights_cache or None)

    @property
    def waiting(self) -> int:
        """Clips that wait or are worked on."""
        return self._jobs

    @property
    def is_well(self) -> bool:
        """False once several clips in a row have ended by errors of this program."""
        return self._failed_in_row < _ILL

    def submit(self, batch: Batch, release: Callable[[], None]) -> Job | None:
        """Have a clip scored; None, and nothing is done, where the queue is full.

        The job's outcome is `Judged`; or raises whatever went wrong here. When it is cancelled, the clip is dropped if
        its turn has not come yet.

        Args:
            batch: the clip alone, with a clip_id that no other has; its uri is a local path.
            release: called when its file is read no more.
        """
        with self._lock:
            if self._jobs >= self._options.queue:
                return None
            self._jobs += 1
        job = Job(batch, release)
        self._probing.put(job)
        return job

    def warm_up(self, folder: Path) -> None:
        """Have a made-up film scored by each decode worker: then the first request waits for no process to start.

        Raises:
            VdvError, or whatever else keeps clips from being scored.
        """
        film = _make_film(folder / "film.avi")
        count = min(self._options.workers, self._options.queue)
        names = [f"warm-up-{number}" for number in range(count)]
        batches = [clip_batch({"clip_id": name, "uri": str(film), "challenge": name}) for name in names]
        jobs = [self.submit(batch, lambda: None) for batch in batches]
        for judged in [job.outcome.result() for job in jobs if job is not None]:
            if judged.status == "failed":
                raise WorkspaceError(f"clips cannot be decoded here: {judged.code}: {judged.reason}")
        film.unlink()

    def close(self) -> None:
        """End all threads and workers; clips under way are given up."""
        self._probing.close()
        self._extraction.close()
        self._scoring.shutdown(cancel_futures=True)

    # --- the ways of a job

    def _probe(self, jobs: Iterator[Job | None]) -> None:
        with DecodePool(SamplingOptions(), self._limits, self._options.workers) as pool:
            for probe in pool.probe((job.clip_id, job.path) if job else None for job in jobs):
                self._take_probe(self._probing.done(probe.clip_id), probe)

    def _take_probe(self, job: Job, probe: Probe) -> None:
        try:
            probe = refused(probe, read_tombstones(self.judge.run_folder.workspace))
        except Exception as error:  # noqa: BLE001 (whatever the workspace's filesystem raises)
            self._end(job, error)
            return
        if probe.code:
            self._end(job, Judged("failed", probe.code, probe.reason))
        else:
            job.probe = probe
            self._extraction.put(job)

    def _extract(self, jobs: Iterator[Job | None], build: Mapping[str, "Extractor"]) -> None:
        extract_shards(
            self._workspace, _BATCH, (), build.__getitem__, self._features.sampling, self._limits,
            workers=self._options.workers, device=self._device, profile=self._features.profile.name,
            taken=(self._plan(job) if job else None for job in jobs), modalities=tuple(build),
            published=lambda plan, _: self._take_features(self._extraction.done(plan.shard)),
        )  # fmt: skip

    def _plan(self, job: Job) -> ShardPlan:
        return ShardPlan(job.clip_id, (job.clip_id,), (_ingested(job),), self._features.specs, endings_missing=True)

    def _take_features(self, job: Job) -> None:
        self._scoring.submit(self._score, job)

    def _score(self, job: Job) -> None:
        try:
            (ending,) = read_endings(self._endings(job))
            failed = ending.status == "failed"
            result: Judged | Exception = (
                Judged("failed", ending.code, ending.reason) if failed else self._judge(job, ending)
            )
        except Exception as error:  # noqa: BLE001 (it costs this clip alone, and is told to its client)
            result = error
        self._end(job, result)

    def _judge(self, job: Job, ending: Ending) -> Judged:
        clip, workspace = _ingested(job), self._workspace
        table = self._table(job)
        write_ingest(table, IngestedBatch((clip,), {job.clip_id: (clip.member,)}), _BATCH, "", "")
        folders = {spec.modality: features_folder(workspace, _BATCH, spec) for spec in self._features.specs}
        files = BatchFiles(job.batch, table, endings_folder(workspace, _BATCH, self._features.sampling), folders)
        row = job.batch.rows.iloc[0]
        creator = None if row.isna()["creator_id"] else str(row["creator_id"])
        uploads = self._uploads(job)
        compared = self._compared.with_clips_like(str(row["challenge"]), creator)
        assemble_uploads(uploads, [files], compared=compared)
        scores = self.judge.scores(uploads).iloc[0]
        seen = uploads.read_clips().iloc[0]
        of_scores, of_clip = (values.where(values.notna(), None).to_dict() for values in (scores, seen))
        return Judged(ending.status, ending.code, ending.reason, ending.frames, ending.expected, of_scores, of_clip)

    # --- ends

    def _end(self, job: Job, result: Judged | Exception | None) -> None:
        """Give the result to who waits, and forget the clip. None: nobody waits."""
        self._forget(job)
        with self._lock:
            self._jobs -= 1
            if result is not None:
                self._failed_in_row = self._failed_in_row + 1 if is_defect(result) else 0
        if result is not None:
            job.settle(result)

    def _forget(self, job: Job) -> None:
        """Remove the clip's file, and all that was made of it."""
        job.release()
        folders = [features_folder(self._workspace, _BATCH, spec) for spec in self._features.specs]
        made = [shard_path(folder, job.clip_id) for folder in folders]
        for path in (*made, self._endings(job), self._table(job)):
            storage.local_path(path).unlink(missing_ok=True)
        shutil.rmtree(self._uploads(job).path, ignore_errors=True)

    def _break(self, error: Exception) -> None:
        self._failed_in_row = _ILL
        log.critical(f"nothing more can be scored: {error}")
        self._broken()

    def _endings(self, job: Job) -> str:
        return shard_path(endings_folder(self._workspace, _BATCH, self._features.sampling), job.clip_id)

    def _table(self, job: Job) -> str:
        return storage.join(clips_folder(self._workspace, _BATCH), f"{job.clip_id}.parquet")

    def _uploads(self, job: Job) -> DatasetFolder:
        return DatasetFolder(self._workspace, f"uploads/{job.clip_id}")


def is_defect(result: object) -> bool:
    """Whether a clip's outcome is an error of this program, which may be gone when it is started anew.

    A full disk is none: it would be as full then.
    """
    return isinstance(result, Exception) and not is_disk_full(result)


def _ingested(job: Job) -> IngestedClip:
    assert job.probe is not None
    return IngestedClip(job.path, "", job.probe, job.clip_id)


def _make_film(path: Path) -> Path:
    """A film of one second: noise, with a codec that each FFmpeg has."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 192, 320, "yuv420p"
        for _ in range(10):
            picture = rng.integers(0, 256, (320, 192, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
