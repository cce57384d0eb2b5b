"""Extraction that goes on for as long as a service: an extractor that raises costs the clip that made it raise."""

import queue
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from torch import Tensor

from benchmarks.tiny_clips import render_clip
from models.extractors.extractor import Extractor, Prepared
from pipeline.decode.clips import Probe
from pipeline.extraction.extract import extract_shards
from pipeline.features.plan import ShardPlan
from pipeline.ingest.clip_table import IngestedClip
from pipeline.ingest.manifest import clip_batch
from pipeline.serve.line import Job, Line
from tests.support.extraction import BATCH, CPU, LIMITS, SAMPLING, rows_by_clip, specs
from tests.support.square_finder import SquareFinder

BAD_FRAMES = 7


class Falls(SquareFinder):
    """Raises at a clip of BAD_FRAMES frames."""

    def prepare(self, frames: Tensor) -> Prepared:
        if len(frames) == BAD_FRAMES:
            raise ValueError("a network fell over")
        return super().prepare(frames)


def test_an_extractor_that_raises_costs_one_clip_and_those_beside_it_are_extracted(tmp_path: Path) -> None:
    films = {"first": 5, "bad": BAD_FRAMES, "beside": 6, "later": 5}
    for seed, (name, frames) in enumerate(films.items()):
        render_clip(tmp_path / f"{name}.mp4", seed=seed, frames=frames)
    (pose,) = specs("pose")
    ends: queue.Queue[tuple[str, str]] = queue.Queue()
    workspace = tmp_path / "workspace"

    def plan(job: Job) -> ShardPlan:
        clip = IngestedClip(job.path, "", Probe(job.clip_id), job.clip_id)
        return ShardPlan(job.clip_id, (job.clip_id,), (clip,), (pose,), endings_missing=True)

    def done(plan: ShardPlan) -> None:
        ends.put((line.done(plan.shard).clip_id, ""))

    def extract(jobs: Iterator[Job | None]) -> None:
        extract_shards(
            str(workspace), BATCH, (), build, SAMPLING, LIMITS, workers=2, device=CPU, profile="tiny",
            taken=(plan(job) if job else None for job in jobs), modalities=("pose",),
            published=lambda plan, _: done(plan),
        )  # fmt: skip

    def build(modality: str) -> Extractor:
        return Falls(modality)

    def end(job: Job, error: Exception | None) -> None:
        ends.put((job.clip_id, str(error)))

    def put(name: str) -> None:
        uri = str(tmp_path / f"{name}.mp4")
        line.put(Job(clip_batch({"clip_id": name, "uri": uri, "challenge": "wave"}), lambda: None))

    with closing(Line("extract", 4, extract, end, lambda error: ends.put(("", str(error))))) as line:
        for name in ("first", "bad", "beside"):
            put(name)
        ended = {ends.get(timeout=120) for _ in range(3)}
        put("later")
        ended.add(ends.get(timeout=120))
    assert ended == {("first", ""), ("beside", ""), ("later", ""), ("bad", "a network fell over")}
    assert set(rows_by_clip(workspace, pose)) == {"first", "beside", "later"}
    assert not [path for path in workspace.rglob("*") if path.name.startswith(".staged-")]
