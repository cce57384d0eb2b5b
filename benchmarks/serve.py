"""The service under clients, good and hostile: latency of clips of 10 s, throughput, and what is left of it all.

    python -m benchmarks.serve --clips FOLDER --workspace WS --run RUN [--profile FILE] [--requests 24] [--seconds 10]

    latency      of good clients, 1, 4 and 32 of them at a time, and of /health beside the 32
    throughput   of 4 clients, against `bare`: the same clips through ingest, extraction and scoring in one go, by the
                 same functions, networks built before the clock starts. Sides in turn; the median of the ratios
    hostile      32 clients at once, one of each hostile kind and good ones besides: every good one has the score that
                 it has alone, and descriptors, processes and temporary files are as many as before
    ends         SIGTERM while clips are under way; kill -9, and a fresh start in the same folder for temporary files

The clips of the folder are played again and again until they last as long as asked for, with their sound.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from threading import Event

import av
import psutil
import torch

from benchmarks.common import interleaved, median_ratio, save
from benchmarks.serve_clients import BUSY, HOSTILE, Held, ask, score, settled, wait_for_address
from models.extractors.extractor import Extractor
from pipeline.core import storage
from pipeline.core.import_path import module_command, module_environment
from pipeline.core.options import DecodeLimits
from pipeline.dataset.folder import BatchFiles, DatasetFolder
from pipeline.extraction.extract import extract_shards
from pipeline.features.chosen import Features
from pipeline.features.plan import endings_folder, features_folder, plan_shards
from pipeline.ingest.clip_table import read_ingest
from pipeline.ingest.ingest_batch import run_ingest
from pipeline.ingest.manifest import read_manifests
from pipeline.modalities.registry import build_extractor
from pipeline.runs.run import Run
from pipeline.runs.runs import find_run
from pipeline.scoring.run_features import run_features, run_profile
from pipeline.scoring.uploads import Compared, Judge, assemble_uploads

CPU = torch.device("cpu")
GOOD = 32 - len(HOSTILE)  # clients among the hostile ones
PARTS = ("latency", "throughput", "hostile", "ends")
STALE_S = storage.FRESH_S + 15


def lengthen(source: Path, target: Path, seconds: float) -> Path:
    """The film again and again, with its sound, until it lasts so long; encoded anew as H.264 and AAC."""
    with av.open(str(source)) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        rate = film.streams.video[0].average_rate or Fraction(30)
    with av.open(str(source)) as film:
        sounds = list(film.decode(audio=0)) if film.streams.audio else []
    with av.open(str(target), "w") as film:
        video = film.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = film.add_stream("aac", rate=sounds[0].rate, layout=sounds[0].layout.name) if sounds else None
        for picture in islice(cycle(pictures), round(seconds * float(rate))):
            film.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(video.encode())
        if audio is not None:
            samples = 0
            for sound in cycle(sounds):
                sound.pts = samples
                film.mux(audio.encode(sound))
                samples += sound.samples
                if samples >= seconds * sound.rate:
                    break
            film.mux(audio.encode())
    return target


@dataclass(frozen=True)
class Service:
    process: subprocess.Popen
    address: str
    temporary: Path

    @property
    def seen(self) -> psutil.Process:
        return psutil.Process(self.process.pid)


@contextmanager
def started(asked: argparse.Namespace, folder: Path, name: str) -> Iterator[Service]:
    """The service, started as a user starts it."""
    log, temporary = folder / f"{name}.log", folder / "tmp"
    temporary.mkdir(exist_ok=True)
    words = ["--run", asked.run, "--workspace", asked.workspace, "--device", "cpu", "--port", "0", "--max-mb", "32"]
    words += ["--answer-s", "1200", "--body-s", "20", *(("--profile", asked.profile) if asked.profile else ())]
    environment = {**module_environment(), "TMPDIR": str(temporary)}
    with open(log, "wb") as file:
        process = subprocess.Popen(module_command("pipeline.serve", *words), stderr=file, env=environment)
    try:
        yield Service(process, wait_for_address(log, lambda: process.poll() is None), temporary)
    finally:
        process.kill()
        process.wait()


def latencies(address: str, clips: Sequence[Path], clients: int, requests: int) -> list[float]:
    """Seconds of each request of so many clients, each of which asks again as soon as it is answered."""

    def one(clip: Path) -> float:
        reply = score(address, clip)
        assert reply.status == 200, reply
        return reply.seconds

    with ThreadPoolExecutor(clients) as threads:
        return list(threads.map(one, islice(cycle(clips), requests)))


def health_latencies(address: str, stop: Event) -> list[float]:
    seconds = []
    while not stop.wait(0.1):
        seconds.append(ask(address, "GET", "/health").seconds)
    return seconds


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "requests": len(ordered),
        "p50_s": round(statistics.median(ordered), 3),
        "p95_s": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 3),
    }


class Bare:
    """The functions behind the service and behind ScoreUploads, in this process."""

    def __init__(self, asked: argparse.Namespace):
        self.run_folder = Run.of(asked.workspace, find_run(asked.workspace, asked.run))
        profile = run_profile(self.run_folder, asked.run, asked.profile)
        self.features: Features = run_features(self.run_folder, asked.run, profile)
        self.build: dict[str, Extractor] = {
            spec.modality: build_extractor(spec.modality, profile, CPU) for spec in self.features.specs
        }
        self.judge, self.compared = Judge.of(self.run_folder, CPU), Compared.of(self.run_folder)

    def score(self, clips: Sequence[Path], folder: Path) -> list[float]:
        """Scores of the clips as one manifest's uploads."""
        workspace, workers = str(folder / "workspace"), len(os.sched_getaffinity(0))
        manifest = folder / "bare.csv"
        lines = [f"clip{place},{clip.resolve()},none" for place, clip in enumerate(clips)]
        manifest.write_text("\n".join(["clip_id,uri,challenge", *lines]) + "\n")
        (batch,) = read_manifests(str(manifest))
        clip_table = run_ingest(workspace, batch, workers, DecodeLimits())
        specs, sampling = self.features.specs, self.features.sampling
        plans = plan_shards(workspace, batch.name, read_ingest(clip_table), specs, sampling).shards
        extract_shards(
            workspace, batch.name, plans, self.build.__getitem__, sampling, DecodeLimits(), workers=workers, device=CPU,
            profile=self.features.profile.name,
        )  # fmt: skip
        folders = {spec.modality: features_folder(workspace, batch.name, spec) for spec in specs}
        files = BatchFiles(batch, clip_table, endings_folder(workspace, batch.name, sampling), folders)
        uploads = DatasetFolder(workspace, "uploads/bare")
        assemble_uploads(uploads, [files], compared=self.compared)
        return self.judge.scores(uploads)["score"].tolist()


def all_latencies(service: Service, clips: Sequence[Path], requests: int) -> dict:
    """Percentiles by number of clients, and those of /health beside them."""
    found = {}
    for clients in (1, 4, 32):
        stop = Event()
        with ThreadPoolExecutor(1) as thread:
            beside = thread.submit(health_latencies, service.address, stop)
            try:
                seconds = latencies(service.address, clips, clients, max(requests, clients))
            finally:
                stop.set()
        health = percentiles(beside.result() or [0.0])
        found[str(clients)] = percentiles(seconds) | {"health_p95_s": health["p95_s"], "load": os.getloadavg()[0]}
    return found


def throughput(service: Service, clips: Sequence[Path], bare: Bare, requests: int, runs: int) -> dict:
    """Time of 4 clients' requests, and of the bare functions on as many clips; whether both give one score."""
    with tempfile.TemporaryDirectory() as folder:
        of_bare = bare.score(clips[:1], Path(folder))
    same = of_bare == [score(service.address, clips[0]).content["score"]]

    def alone() -> None:
        with tempfile.TemporaryDirectory() as folder:
            bare.score(list(islice(cycle(clips), requests)), Path(folder))

    seconds = interleaved(
        runs, served=lambda: latencies(service.address, clips, 4, requests), bare=alone
    )  # fmt: skip
    return {
        "same_score_bit_for_bit": same,
        "clips": requests,
        **{f"{side}_s": [round(one, 2) for one in times] for side, times in seconds.items()},
        "clips_a_second_served": round(requests / statistics.median(seconds["served"]), 3),
        "served_against_bare": round(median_ratio(seconds["bare"], seconds["served"]), 3),
    }


def hostile(service: Service, clip: Path) -> dict:
    """32 clients at once. Raises AssertionError where anything is not as it should be."""
    alone = score(service.address, clip)
    before = Held.by(service.seen, service.temporary)
    start = time.perf_counter()
    with ThreadPoolExecutor(32) as threads:
        bad = {client: threads.submit(client, service.address, clip.read_bytes()) for client in HOSTILE}
        good = [threads.submit(score, service.address, clip) for _ in range(GOOD)]
        endings = {client.__name__: ending.result() for client, ending in bad.items()}
        wrong = {client.__name__ for client in HOSTILE if endings[client.__name__] not in (*HOSTILE[client], BUSY)}
        assert not wrong, endings
        replies = [one.result() for one in good]
    assert all(reply.content["score"] == alone.content["score"] for reply in replies)
    took = round(time.perf_counter() - start, 1)
    after = settled(service.seen, service.temporary, before)
    assert after.is_within(before), (before, after)
    assert ask(service.address, "GET", "/health").status == 200
    return {
        "at_once": 32, "clients": len(bad) + len(good), "seconds": took, "good": [reply.status for reply in replies],
        "hostile": endings, "before": asdict(before), "after": asdict(after),
    }  # fmt: skip


def stopped(service: Service, clip: Path) -> dict:
    """What comes of clips under way when SIGTERM comes, and the exit code."""
    with ThreadPoolExecutor(4) as threads:
        under_way = [threads.submit(score, service.address, clip) for _ in range(4)]
        while ask(service.address, "GET", "/health").content["waiting"] < 4:
            time.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        statuses = [one.result().status for one in under_way]
    return {
        "answered": statuses,
        "exit_code": service.process.wait(120),
        "left": len(list(service.temporary.iterdir())),
    }


def killed(asked: argparse.Namespace, folder: Path, clip: Path) -> dict:
    """What is left of a service that is killed with clips under way, at once and after another has been started."""
    with started(asked, folder, "killed") as service, ThreadPoolExecutor(4) as threads:
        children = service.seen.children(recursive=True)
        for _ in range(4):
            threads.submit(_lost, service.address, clip)
        while ask(service.address, "GET", "/health").content["waiting"] < 4:
            time.sleep(0.01)
        service.process.kill()
        service.process.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        files = Held.by(psutil.Process(), service.temporary).files
    killed_at = time.monotonic()
    with started(asked, folder, "again") as service:
        while Held.by(service.seen, service.temporary).files and time.monotonic() < killed_at + 2 * STALE_S:
            time.sleep(0.5)
        again = Held.by(service.seen, service.temporary).files
    return {"processes_left": len(alive), "files_left": files, "files_after_a_fresh_start": again,
            "gone_after_s": round(time.monotonic() - killed_at, 1)}  # fmt: skip


def _lost(address: str, clip: Path) -> None:
    try:
        score(address, clip)
    except OSError:
        return
    except ValueError:  # half an answer
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of films; the first eight are taken")
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--profile", default="")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clips (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=24, help="of each number of clients (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="turns of the throughput's sides (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="others stay as they were measured")
    parser.add_argument("--name", default="serve", help="of the file of results (default: %(default)s)")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        films = sorted(path for path in asked.clips.iterdir() if path.suffix == ".mp4")[:8]
        clips = [lengthen(film, folder / film.name, asked.seconds) for film in films]
        results: dict = {"clip_seconds": asked.seconds}
        with started(asked, folder, "service") as service:
            if "latency" in asked.parts:
                results["latency"] = all_latencies(service, clips, asked.requests)
            if "throughput" in asked.parts:
                results["throughput"] = throughput(service, clips, Bare(asked), asked.requests, asked.runs)
            if "hostile" in asked.parts:
                results["hostile"] = hostile(service, clips[0])
            results["memory_mib"] = round(
                sum(one.memory_info().rss for one in (service.seen, *service.seen.children(recursive=True))) / 2**20
            )
            if "ends" in asked.parts:
                results["sigterm"] = stopped(service, clips[0])
        if "ends" in asked.parts:
            results["killed"] = killed(asked, folder, clips[0])
    print(json.dumps(results, indent=1))
    save(asked.name, results, keep_others=True)


if __name__ == "__main__":
    main()
