"""Frames a second of one core: ours against `ffmpeg -threads 1` on the same files.

    python benchmarks/decode.py --clips FOLDER [--repeats 5] [--max-side 1280]

Both are pinned to one core and run in turns; numbers are medians. CPU time is user and system of the whole process
tree, so that the start of ffmpeg counts as little as that of our worker, which is started once and stays.

    decode      ffmpeg decoding to nothing: no grid, no scaling, no RGB; the bar is 0.9 of it
    product     ffmpeg making what we make: the 10 fps grid, scaled, RGB, to a pipe that throws it away
    pool        ours as it is used: a worker, frames in shared memory, chunks released at once
    pyav, decord    the decoders alone, in this process, frames thrown away; decord with PyAV's look at the same film
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import save
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding
from pipeline.decode.pool import DecodeJob, DecodePool


def ffmpeg_binary() -> str:
    from imageio_ffmpeg import get_ffmpeg_exe

    return get_ffmpeg_exe()


def run_ffmpeg(clip: Path, sampling: SamplingOptions, product: bool) -> None:
    # passthrough: to nothing, every decoded frame once; without it ffmpeg repeats frames to a constant rate.
    command = [ffmpeg_binary(), "-v", "error", "-nostdin", "-threads", "1", "-t", str(sampling.max_seconds)]
    command += ["-i", str(clip), "-map", "0:v:0", "-filter_threads", "1"]
    if product:
        side = sampling.max_side
        scale = f"scale=w='if(gt(a,1),min({side},iw),-2)':h='if(gt(a,1),-2,min({side},ih))':flags=area"
        # fps= repeats frames of slower clips, which we never do: those keep their own rate.
        fps = sampling.sample_fps
        select = f"select='isnan(prev_selected_t)+gt(floor(t*{fps}+1e-3),floor(prev_selected_t*{fps}+1e-3))'"
        command += ["-vf", f"{select},{scale}", "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    else:
        command += ["-fps_mode", "passthrough", "-f", "null", "-"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run_decoder(clip: Path, sampling: SamplingOptions, decoder: str) -> None:
    for _ in ClipDecoding(fetch(str(clip)), sampling, DecodeLimits(), lambda _: True, (decoder,)).frames():
        pass


def run_pool(pool: DecodePool, clip: Path) -> None:
    for event in pool.run([DecodeJob(clip.name, str(clip), (1,))]):
        if not isinstance(event, Ending):
            event.release()
        elif event.status != "ok":
            sys.exit(f"{clip.name} ended {event.status}: {event.reason}")


def tree_cpu_s() -> float:
    """CPU seconds of this process, its ended children and those that live (user and system)."""
    total = sum(os.times()[:4])
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        total += times.user + times.system
    return total


def measured(work: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    cpu, wall = tree_cpu_s(), time.perf_counter()
    work(*arguments)
    return time.perf_counter() - wall, tree_cpu_s() - cpu


def source_frames(clip: Path, sampling: SamplingOptions) -> int:
    """Frames that decode within max_seconds."""
    import av

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        return sum(1 for frame in container.decode(stream) if frame.time is None or frame.time < sampling.max_seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of undamaged clips")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--max-side", type=int, default=SamplingOptions().max_side)
    arguments = parser.parse_args()
    clips = sorted(path for path in arguments.clips.iterdir() if path.is_file())
    if not clips:
        parser.error(f"no clips in {arguments.clips}")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    sampling = SamplingOptions(max_side=arguments.max_side)
    ways = ("decode", "product", "pool", "pyav", "decord")
    rows = []
    with DecodePool(sampling, DecodeLimits(), 1) as pool:
        # One run over all clips warms the file cache and touches the worker's slots, as in the middle of a batch.
        frames = {clip.name: source_frames(clip, sampling) for clip in clips}
        for clip in clips:
            run_pool(pool, clip)
    for clip in clips:
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        with DecodePool(sampling, DecodeLimits(), 1) as pool:
            run_pool(pool, clip)
            for _ in range(arguments.repeats):
                times["decode"].append(measured(run_ffmpeg, clip, sampling, False))
                times["pool"].append(measured(run_pool, pool, clip))
                times["product"].append(measured(run_ffmpeg, clip, sampling, True))
                for decoder in ("pyav", "decord"):
                    times[decoder].append(measured(run_decoder, clip, sampling, decoder))
        row = {"clip": clip.name, "frames": frames[clip.name]}
        for way in ways:
            row[way] = {
                "wall_s": statistics.median(wall for wall, _ in times[way]),
                "cpu_s": statistics.median(cpu for _, cpu in times[way]),
            }
        rows.append(row)
        print_row(row, ways)
    total = {"clip": "all", "frames": sum(row["frames"] for row in rows)}
    for way in ways:
        total[way] = {key: sum(row[way][key] for row in rows) for key in ("wall_s", "cpu_s")}
    print_row(total, ways)
    ratios = {
        f"{way} / ffmpeg {against}": {key: total[against][key] / total[way][key] for key in ("wall_s", "cpu_s")}
        for way in ("pool", "pyav", "decord")
        for against in ("decode", "product")
    }
    print()
    for name, ratio in ratios.items():
        print(f"{name:24s} wall {ratio['wall_s']:.2f}   cpu {ratio['cpu_s']:.2f}")
    os.sched_setaffinity(0, cores)
    said = subprocess.run([ffmpeg_binary(), "-version"], capture_output=True, text=True, check=True).stdout
    result = {
        "repeats": arguments.repeats, "sampling": vars(sampling), "ffmpeg": said.split("\n")[0],
        "clips": rows, "all": total, "ratios": ratios,
    }  # fmt: skip
    save("decode", result)


def print_row(row: dict, ways: tuple[str, ...]) -> None:
    """Frames a second by wall time, each with its CPU seconds."""
    cells = [f"{way} {row['frames'] / row[way]['wall_s']:6.0f}/s {row[way]['cpu_s']:5.2f}s" for way in ways]
    print(f"{row['clip'][:26]:26s} {row['frames']:5d}  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
