"""Speed of ingest and decoding where clips lie in an object store, against the same clips on a local disk.

    python -m benchmarks.remote [--clips 400] [--delay-ms 50]

Small clips are served by an S3 server (moto) behind a proxy that delays each request, both in a process of their own.
A turn probes and hashes all of them into a workspace (run_ingest), then decodes all of them as ExtractBatch does, and
lets every frame go: networks, which would hide the fetching, are left out. Sides take turns: local files; the store
without the delay; with it; with it and without the cache (each clip is fetched twice).

Beside the turns: how many clips a second the fetching process alone takes, without and with the delay.

The server is Python and takes the same processor cores as what is measured, which no real store does. So each ratio to
the local side is given twice: of the wall times as measured, and with the server's processor time, shared by the
cores, taken out of the store's. The first is too low for a real store; the second is too high, as far as cores stood
idle while the server worked.
"""

import argparse
import multiprocessing
import os
import queue
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import fsspec
import psutil

from benchmarks.common import save, table
from benchmarks.tiny_clips import tiny_world
from benchmarks.unreliable_store import KEY, UnreliableStore, environment, s3_server
from pipeline.access.fetch_cache import CacheFolder
from pipeline.access.prefetch import Fetched, Prefetch
from pipeline.access.requests import MOST_FETCHES
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.decode.pool import DecodeJob, DecodePool
from pipeline.ingest.clip_table import read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests

_BUCKET = "s3://clips"
_FIRST = 100  # clips before the fetching alone is measured
_SIDES = {  # delayed, with the cache
    "local": (False, True), "store": (False, True), "delayed": (True, True), "delayed, no cache": (True, False),
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One ingest and decoding of all clips."""

    wall_s: float
    ingest_s: float  # of the wall time
    server_s: float  # processor time of the store and its proxy
    gets: int  # requests for clips
    requests: int  # all of them


class Store:
    """A process that serves S3 behind a delaying proxy."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end,), daemon=True)
        self._process.start()
        self.store, self.proxy = self._link.recv()
        self.seconds = psutil.Process(self._process.pid).cpu_times

    def delayed(self, seconds: float) -> tuple[int, int]:
        """Delay requests from now on; how many there were since this was last called: for clips, and in all."""
        self._link.send(seconds)
        return self._link.recv()

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(link: Connection) -> None:
    with s3_server() as store, UnreliableStore(store) as proxy:
        link.send((store, proxy.address))
        while True:
            proxy.delay_s = link.recv()
            gets = sum(n for (method, path), n in proxy.asked.items() if method == "GET" and path.endswith(".mp4"))
            link.send((gets, proxy.asked.total()))
            proxy.asked.clear()


@contextmanager
def stored(folder: Path) -> Iterator[Store]:
    """A store with the clips of a folder, which this process's environment names."""
    store = Store()
    os.environ.update(environment(store.proxy))
    files = fsspec.filesystem("s3", key=KEY, secret=KEY, endpoint_url=store.store)
    files.mkdir(_BUCKET)
    files.put(str(folder / "clips"), f"{_BUCKET}/clips", recursive=True)
    try:
        yield store
    finally:
        store.close()


def turn(folder: Path, manifest: Path, store: Store, delay_s: float, workers: int, cached: bool) -> Turn:
    """Ingest and decode the clips of a manifest into a new workspace."""
    store.delayed(delay_s)
    cache = CacheFolder()
    limits = DecodeLimits(fetch_cache=cache.path if cached else "")
    (batch,) = read_manifests(str(manifest))
    server_s = sum(store.seconds()[:2])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as workspace:
        clips = read_ingest(run_ingest(workspace, batch, workers, limits)).clips
    ingest_s = time.perf_counter() - start
    jobs = (DecodeJob(clip.clip_id, clip.uri, (1,), clip.content_hash) for clip in clips)
    ended = 0
    with DecodePool(SamplingOptions(), limits, workers) as pool:
        for event in pool.run(jobs):
            if not isinstance(event, Ending):
                event.release()
            elif event.status != "ok":
                raise SystemExit(f"{event.clip_id} ended {event.status}: {event.reason}")
            else:
                ended += 1
    wall_s = time.perf_counter() - start
    cache.close()
    if ended != len(batch.rows):
        raise SystemExit(f"only {ended} of {len(batch.rows)} clips were decoded")
    return Turn(wall_s, ingest_s, sum(store.seconds()[:2]) - server_s, *store.delayed(0.0))


def fetched_alone(store: Store, uris: Sequence[str], delay_s: float) -> dict[str, float]:
    """Clips fetched a second when nobody decodes them, and processor time of the fetching process for each."""
    store.delayed(delay_s)
    ended: queue.SimpleQueue[Fetched | BaseException | None] = queue.SimpleQueue()
    prefetch, waiting = Prefetch(DecodeLimits(), MOST_FETCHES, ended.put), deque(uris)
    start, used, process = 0.0, 0.0, psutil.Process()
    for done in range(len(uris)):
        if done == _FIRST:  # it has started, and opened its connections
            (process,) = [one for one in psutil.Process().children() if "pipeline.access.fetcher" in one.cmdline()]
            start, used = time.perf_counter(), sum(process.cpu_times()[:2])
        while waiting and prefetch.has_room():
            prefetch.begin(waiting.popleft(), ended.put)
        fetched = ended.get()
        if not isinstance(fetched, Fetched) or fetched.answer.code:
            raise SystemExit(f"a clip was not fetched: {fetched}")
        prefetch.give_back(fetched)
    seconds, used = time.perf_counter() - start, sum(process.cpu_times()[:2]) - used
    prefetch.close()
    count = len(uris) - _FIRST
    return {"clips_a_second": round(count / seconds, 1), "ms_of_a_core_each": round(1000 * used / count, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--delay-ms", type=float, default=50.0, help="added to each request (default 50)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="decode processes; 0: one a core")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    workers = options.workers or cores
    turns: dict[str, list[Turn]] = {side: [] for side in _SIDES}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        local = tiny_world(folder, options.clips)
        remote = folder / "remote.csv"
        remote.write_text(local.read_text().replace(",clips/", f",{_BUCKET}/clips/"))
        mean_kb = statistics.mean(path.stat().st_size for path in (folder / "clips").iterdir()) / 1000
        with stored(folder) as store:
            for number in range(options.turns):
                for side, (delayed, cached) in _SIDES.items():
                    manifest, delay_s = local if side == "local" else remote, delayed * options.delay_ms / 1000
                    turns[side].append(turn(folder, manifest, store, delay_s, workers, cached))
                    print(f"turn {number + 1}, {side}: {turns[side][-1].wall_s:.1f} s", flush=True)
            uris = [f"{_BUCKET}/clips/{path.name}" for path in (folder / "clips").iterdir()]
            alone = {
                side: fetched_alone(store, uris, delayed * options.delay_ms / 1000)
                for side, delayed in (("store", False), ("delayed", True))
            }
    rows = {side: _row(of, turns["local"], options.clips, cores) for side, of in turns.items()}
    header = [
        "",
        "clips/s",
        "ingest s",
        "speed to local",
        "less the server",
        "server s",
        "GETs a clip",
        "requests a clip",
    ]
    print(table([[side, *row.values()] for side, row in rows.items()], header))
    print(f"{options.clips} clips of {mean_kb:.1f} kB, {options.delay_ms:g} ms a request, {workers} decode processes")
    print(f"fetched alone: {alone}")
    about = {"clips": options.clips, "mean_kb": round(mean_kb, 1), "delay_ms": options.delay_ms, "workers": workers}
    every = {side: [asdict(one) for one in of] for side, of in turns.items()}
    save("remote", {**about, "sides": rows, "fetched_alone": alone, "turns": every})


def _row(turns: list[Turn], local: list[Turn], clips: int, cores: int) -> dict[str, float]:
    """Medians; ratios are those of each turn's two sides."""
    speed = [base.wall_s / one.wall_s for base, one in zip(local, turns, strict=True)]
    without = [base.wall_s / (one.wall_s - one.server_s / cores) for base, one in zip(local, turns, strict=True)]
    medians = {
        "clips_a_second": statistics.median(clips / one.wall_s for one in turns),
        "ingest_s": statistics.median(one.ingest_s for one in turns),
        "speed_to_local": statistics.median(speed),
        "speed_to_local_without_server": statistics.median(without),
        "server_s": statistics.median(one.server_s for one in turns),
        "gets_a_clip": turns[0].gets / clips,
        "requests_a_clip": turns[0].requests / clips,
    }
    return {name: round(value, 3) for name, value in medians.items()}


if __name__ == "__main__":
    main()
