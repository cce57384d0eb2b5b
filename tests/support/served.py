"""The scoring service with clips that are scored at a word."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serve_clients import (
    Reply,
    ask,
)
from pipeline.ingest.manifest import Batch
from pipeline.serve import server
from pipeline.serve.answers import Judged, RunFacts
from pipeline.serve.app import Service, make_app
from pipeline.serve.fetches import Fetches
from pipeline.serve.line import Job
from pipeline.serve.options import ServeOptions, parse_options
from pipeline.serve.scorer import decode_limits

WORDS = ["--run", "june", "--port", "0", "--max-mb", "1", "--queue", "2", "--body-s", "1", "--answer-s", "20"]
GOOD = Judged(
    "ok", "", "", 10, 10,
    {"known_challenge": True, "score": 1.5, "expected_percentile": 0.75, "low": 0.5, "high": 1.0, "abstained": False,
     "score_pose": 1.5, "attention_pose": 1.0, "score_audio": None, "attention_audio": 0.0},
    {"quality_pose": 0.5, "quality_audio": 0.0, "without_audio": "no_sound"},
)  # fmt: skip
FILM = b"a film" * 1000


class ScoredAtAWord:
    """Takes clips as a Scorer does, and scores them when told to."""

    is_well = True

    def __init__(self, queue: int):
        self.queue, self.jobs = queue, list[Job]()
        self.films: list[bytes] = []
        self.result: Judged | Exception | None = GOOD  # None: later
        self.judge: Callable[[Job], Judged] | None = None

    @property
    def waiting(self) -> int:
        return sum(not job.outcome.done() for job in self.jobs)

    def submit(self, batch: Batch, release: Callable[[], None]) -> Job | None:
        if self.waiting >= self.queue:
            return None
        job = Job(batch, release)
        self.films.append(Path(job.path).read_bytes())
        self.jobs.append(job)
        release()
        if self.result is not None:
            job.settle(self.judge(job) if self.judge else self.result)
        return job


class Served:
    """A service on a port of its own."""

    def __init__(self, folder: Path, *words: str, environment: dict[str, str] | None = None):
        self.options: ServeOptions = parse_options([*WORDS, *words], environment or {})
        self.scorer, self.folder = ScoredAtAWord(self.options.queue), folder
        self.fetches = Fetches(decode_limits(self.options), self.options.queue)
        self._server = server.Server(self.options.host, 0, self.options.body_s + self.options.answer_s)
        facts = RunFacts("a" * 16, 0.8, (), None)
        app = make_app(Service(self.scorer, self.fetches, facts, self.options, folder), self.options)
        self._thread = threading.Thread(target=self._server.serve_until_stopped, args=(app,), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    @property
    def address(self) -> str:
        return self._server.address

    def post(self, body: bytes, kind: str = "video/mp4", query: str = "", **headers: str) -> Reply:
        return ask(self.address, "POST", f"/score{query}", body, content_type=kind, **headers)

    def close(self) -> None:
        self._server.fail()
        self._thread.join()
        self.fetches.close()
