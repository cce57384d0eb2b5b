"""The pool of decode workers: chunks and endings, whatever a clip does to its worker."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import pytest

from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool, Sound, probe_clips
from pipeline.decode.worker_process import Stopped, WorkerProcess
from tests.pipeline.access.test_sandbox import lacking_here
from tests.pipeline.decode.test_decoders import write_clip
from tests.support.orphans import still_running

SAMPLING = SamplingOptions()
LIMITS = DecodeLimits(slot_mb=2)
HOSTILE = Path(__file__).parent / "hostile"


def decode(
    jobs: Iterable[DecodeJob], limits: DecodeLimits = LIMITS, workers: int = 1, sampling: SamplingOptions = SAMPLING
) -> tuple[list[tuple], dict[str, Ending]]:
    """(chunks' clip, attempt, positions; endings) in the order of events; pictures' means as a check of content."""
    chunks, endings, order = [], {}, []
    with DecodePool(sampling, limits, workers) as pool:
        for event in pool.run(jobs):
            order.append(event.clip_id)
            if isinstance(event, Chunk):
                assert event.clip_id not in endings, "a chunk after its clip's ending"
                chunks.append((event.clip_id, event.attempt, event.position.tolist(), event.frames.shape))
                event.release()
            else:
                assert isinstance(event, Ending)
                assert event.clip_id not in endings, "two endings"
                endings[event.clip_id] = event
    return chunks, endings


def workers_of(pid: int | None = None) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            found += [child] * ("pipeline.decode.worker" in " ".join(child.cmdline()))
    return found


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VDV_TEST_STARTS", str(tmp_path / "starts"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HOSTILE), os.environ.get("PYTHONPATH", "")]))


# Grid frames of every file of ../shared/clips/hard (10 a second), and how it ends.
HARD = {
    "decord_corrupted.mp4": ("partial", 28, 50, "corrupt"),
    "decord_video_90.mov": ("ok", 1, 1, ""),
    "decord_video_180.mov": ("ok", 1, 1, ""),
    "decord_video_270.mov": ("ok", 1, 1, ""),
    "syn_vfr_animatex_dance_1.mp4": ("ok", 72, 72, ""),
    "syn_truncated_animatex_dance_1.mp4": ("failed", 0, 0, "not_a_video"),
    "syn_truncated_faststart_animatex_dance_1.mp4": ("partial", 35, 81, "truncated"),
    "syn_audio_only.mp4": ("failed", 0, 0, "no_video_stream"),
    "syn_empty.mp4": ("failed", 0, 0, "empty"),
    "syn_text.mp4": ("failed", 0, 0, "not_a_video"),
    "syn_1frame.mp4": ("ok", 1, 1, ""),
    "syn_3frames.mp4": ("ok", 2, 2, ""),
    "syn_black_noperson.mp4": ("ok", 20, 20, ""),
    "syn_hevc_animatex_dance_1.mp4": ("ok", 40, 40, ""),
    "syn_odd_407x601_vp9.webm": ("ok", 40, 40, ""),
    "torchcodec_testsrc2_av1_10bit.mp4": ("ok", 10, 10, ""),
    "torchcodec_animated.gif": ("ok", 4, 4, ""),
}


def test_every_hard_clip_ends_as_it_should(hard_clips: Path) -> None:
    assert set(HARD) == {path.name for path in hard_clips.iterdir()}
    chunks, endings = decode(
        (DecodeJob(name, str(hard_clips / name), (1,)) for name in HARD), DecodeLimits(slot_mb=8), workers=2
    )
    got = {name: (e.status, e.frames, e.expected, e.code) for name, e in endings.items()}
    assert got == HARD
    for name, ending in endings.items():
        positions = [p for clip, _, part, _ in chunks if clip == name for p in part]
        assert positions == list(range(ending.frames))
        assert bool(ending.reason) == bool(ending.code)


def test_every_hard_clip_is_described_without_hanging_or_crashing(hard_clips: Path) -> None:
    probes = {p.clip_id: p for p in probe_clips(((n, str(hard_clips / n)) for n in HARD), LIMITS, 2)}
    assert set(probes) == set(HARD)
    for name, (status, _, _, code) in HARD.items():
        assert probes[name].code == (code if status == "failed" else ""), name
        assert len(probes[name].content_hash) == (0 if code == "empty" else 64)
    turned = probes["decord_video_90.mov"]
    assert (turned.codec, turned.width, turned.height, turned.rotation, turned.frames) == ("h264", 320, 568, 90, 3)
    assert probes["decord_video_270.mov"].rotation == 270
    assert probes["torchcodec_testsrc2_av1_10bit.mp4"].codec == "av1"
    assert probes["syn_odd_407x601_vp9.webm"].duration_s == pytest.approx(4.0)


def test_chunks_hold_the_decoders_frames_whichever_strides_ask(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=240, size=(320, 240))
    expected = list(ClipDecoding(fetch(str(clip)), SAMPLING, LIMITS, lambda _: True).frames())
    assert len(expected) == 100
    cuts: dict[int, set[int]] = {}
    for strides in [(1,), (2, 10), (10,)]:
        positions = []
        with DecodePool(SAMPLING, LIMITS, 1) as pool:
            for event in pool.run([DecodeJob("c", str(clip), strides)]):
                if isinstance(event, Ending):
                    assert (event.frames, event.width, event.height) == (100, 320, 240)
                    continue
                assert isinstance(event, Chunk)
                assert not event.frames.flags.writeable
                for row, position in enumerate(event.position):
                    np.testing.assert_array_equal(event.frames[row], expected[position].rgb)
                    assert event.timestamp[row] == np.float32(expected[position].timestamp)
                    assert event.frame_index[row] == expected[position].frame_index
                    cuts.setdefault(int(position), set()).add(int(position) // 9)
                positions += event.position.tolist()
                assert len({position // 9 for position in event.position.tolist()}) == 1  # 9 frames fit 2 MB
                event.release()
        assert positions == [i for i in range(100) if any(i % stride == 0 for stride in strides)]


def test_large_pictures_are_scaled_and_chunks_say_by_how_much(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=6, size=(640, 320))
    with DecodePool(SamplingOptions(max_side=320), LIMITS, 1) as pool:
        chunk, _ = list(pool.run([DecodeJob("c", str(clip), (1,))]))
    assert isinstance(chunk, Chunk)
    assert chunk.frames.shape[1:] == (160, 320, 3)
    assert (chunk.scale, chunk.width, chunk.height) == (0.5, 640, 320)


def test_a_frame_that_fits_no_slot_fails_its_clip_and_says_what_to_do(tmp_path: Path) -> None:
    large, small = (write_clip(tmp_path / f"{w}.mp4", frames=6, size=(w, 640)) for w in (1280, 128))
    _, endings = decode([DecodeJob("large", str(large), (1,)), DecodeJob("small", str(small), (1,))])
    assert (endings["large"].code, endings["small"].status) == ("too_large", "ok")
    assert "slot_mb" in endings["large"].reason


@pytest.mark.parametrize("kind", ["spin", "segfault", "ask", "eat", "mute"])
def test_a_clip_that_hangs_crashes_or_eats_memory_costs_only_itself(tmp_path: Path, hostile: None, kind: str) -> None:
    code = {"spin": "deadline", "segfault": "crash", "ask": "memory", "eat": "memory", "mute": "crash"}[kind]
    jobs = []
    for name in ("good-1", f"{kind}-1", "good-2", "good-3"):
        clip = write_clip(tmp_path / f"{name}.mp4", frames=96, size=(320, 240))
        jobs.append(DecodeJob(name, str(clip), (1,)))
    # Only what spins meets its deadline; a busy machine must not make the others meet it too.
    limits = DecodeLimits(slot_mb=1, deadline_s=3 if kind == "spin" else 100, memory_limit_mb=1024)
    chunks, endings = decode(jobs, limits)
    bad = endings.pop(f"{kind}-1")
    tries = 1 if kind == "spin" else 2  # the deadline is for all of them together
    assert (bad.status, bad.code, bad.attempts, bad.frames) == ("failed", code, tries, 0)
    assert {attempt for clip, attempt, *_ in chunks if clip == bad.clip_id} == set(range(1, tries + 1))
    assert [(e.status, e.frames, e.attempts) for e in endings.values()] == [("ok", 40, 1)] * 3
    if kind == "segfault":
        assert "SIGSEGV" in bad.reason
    if kind == "spin":
        assert 3.0 <= bad.decode_s < 6.0


def test_a_clip_that_takes_its_worker_over_can_write_connect_and_start_nothing(tmp_path: Path, hostile: None) -> None:
    if lacking := lacking_here():
        pytest.skip(f"no confinement on this machine: {lacking}")
    clip = write_clip(tmp_path / "escape-1.mp4", frames=96, size=(320, 240))
    content, mode = clip.read_bytes(), clip.stat().st_mode
    _, endings = decode([DecodeJob("c", str(clip), (1,))])
    assert (endings["c"].code, endings["c"].reason.partition(": ")[2]) == ("crash", "RuntimeError: escaped: []")
    assert (clip.read_bytes(), clip.stat().st_mode) == (content, mode)
    assert {path.name for path in tmp_path.iterdir()} == {"escape-1.mp4", "starts"}


def test_a_failure_that_passes_costs_one_more_attempt(tmp_path: Path, hostile: None) -> None:
    clip = write_clip(tmp_path / "once-segfault-1.mp4", frames=96, size=(320, 240))
    chunks, endings = decode([DecodeJob("c", str(clip), (1,))], DecodeLimits(slot_mb=1))
    assert (endings["c"].status, endings["c"].attempts, endings["c"].frames) == ("ok", 2, 40)
    attempts = [attempt for _, attempt, _, _ in chunks]
    assert attempts == sorted(attempts)
    assert set(attempts) == {1, 2}
    assert [p for _, attempt, part, _ in chunks if attempt == 2 for p in part] == list(range(40))


def test_waiting_for_the_consumer_does_not_count_to_the_deadline(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=48, size=(640, 480))  # 1 frame a slot
    limits = DecodeLimits(slot_mb=1, slots=1, deadline_s=2)
    with DecodePool(SAMPLING, limits, 1) as pool:
        for count, event in enumerate(pool.run([DecodeJob("c", str(clip), (1,))])):
            if isinstance(event, Chunk):
                if count in (3, 9):
                    time.sleep(1.25)
                event.release()
    assert isinstance(event, Ending)
    assert (event.status, event.attempts) == ("ok", 1)
    assert event.decode_s < 2


def test_a_worker_waits_while_all_its_slots_are_out(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=240, size=(640, 480))  # 1 frame a slot
    with DecodePool(SAMPLING, DecodeLimits(slot_mb=1, slots=3), 1) as pool:
        events = pool.run([DecodeJob("c", str(clip), (1,))])
        held = [cast(Chunk, next(events)) for _ in range(3)]
        copies = [chunk.frames.copy() for chunk in held]
        time.sleep(0.5)
        assert pool._events.empty()
        for chunk, copy in zip(held, copies, strict=True):
            np.testing.assert_array_equal(chunk.frames, copy)
        for chunk in held:
            chunk.release()
            chunk.release()  # twice is once
        rest = list(_released(events))
    assert isinstance(rest[-1], Ending)
    assert rest[-1].frames == 100


def test_a_slot_that_is_released_twice_is_lent_once(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=240, size=(640, 480))  # 1 frame a slot
    expected = [frame.rgb for frame in ClipDecoding(fetch(str(clip)), SAMPLING, LIMITS, lambda _: True).frames()]
    with DecodePool(SAMPLING, DecodeLimits(slot_mb=1, slots=2), 1) as pool:
        events = pool.run([DecodeJob("c", str(clip), (1,))])
        first, second = (cast(Chunk, next(events)) for _ in range(2))
        first.release()
        first.release()
        third = cast(Chunk, next(events))
        time.sleep(1)  # both slots are out: a third lent one would be that of `third`, filled again
        assert pool._events.empty()
        for place, chunk in enumerate((second, third), 1):
            np.testing.assert_array_equal(chunk.frames[0], expected[place])


@pytest.mark.parametrize("late", [True, False])
def test_a_clip_that_hangs_after_it_waited_meets_its_deadline(tmp_path: Path, hostile: None, late: bool) -> None:
    clip = write_clip(tmp_path / "spin-1.mp4", frames=96, size=(640, 480))  # 1 frame a slot: the worker waits each time
    stop = threading.Event()
    watch = threading.Timer(30, stop.set)
    watch.start()
    worker = WorkerProcess(SAMPLING, DecodeLimits(slot_mb=1, slots=1, deadline_s=2, attempts=1), stop)
    try:
        for _, event in worker.run({"op": "decode", "uri": str(clip), "strides": [1]}):
            if event["event"] == "chunk":
                if late:
                    time.sleep(0.2)  # the slot comes back before it is read that the worker waits for it
                    worker.release(event["slot"])
                else:
                    threading.Timer(0.2, worker.release, [event["slot"]]).start()
    except Stopped:
        pytest.fail("the clock stands still though the worker works")
    finally:
        watch.cancel()
        worker.close()
    assert event["code"] == "deadline"


def _released(events: Iterable[Chunk | Sound | Ending]) -> Iterator[Chunk | Sound | Ending]:
    for event in events:
        if isinstance(event, Chunk):
            event.release()
        yield event


def test_ten_thousand_jobs_are_pulled_as_they_are_needed(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=1)
    pulled = 0

    def jobs() -> Iterator[DecodeJob]:
        nonlocal pulled
        for number in range(10_000):
            pulled += 1
            yield DecodeJob(f"c{number}", str(clip), (1,))

    with DecodePool(SAMPLING, LIMITS, 2) as pool:
        for count, _ in enumerate(_released(pool.run(jobs()))):
            if count == 40:
                break
        assert pulled < 60


def test_jobs_that_are_still_to_come_are_asked_for_again(tmp_path: Path) -> None:
    path, ended = write_clip(tmp_path / "clip.mp4", 20), list[str]()

    def jobs() -> Iterator[DecodeJob | None]:
        yield None
        yield DecodeJob("first", str(path), (1,))
        while not ended:
            yield None
        yield DecodeJob("second", str(path), (1,))

    with DecodePool(SAMPLING, LIMITS, 1) as pool:
        for event in pool.run(jobs()):
            if isinstance(event, Chunk):
                event.release()
            else:
                ended.append(event.clip_id)
    assert ended == ["first", "second"]


def test_leaving_the_block_kills_the_workers_whatever_they_do(tmp_path: Path, hostile: None) -> None:
    spin = write_clip(tmp_path / "spin-1.mp4", frames=96)
    with pytest.raises(KeyboardInterrupt), DecodePool(SAMPLING, LIMITS, 2) as pool:  # noqa: PT012
        events = pool.run([DecodeJob("a", str(spin), (1,)), DecodeJob("b", str(tmp_path / "none"), (1,))])
        assert cast(Ending, next(events)).code == "missing"
        assert workers_of()
        raise KeyboardInterrupt
    assert not workers_of()
    with pytest.raises(RuntimeError, match="closed"):
        next(pool.run([]))


def test_giving_up_a_run_kills_the_workers(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=240, size=(640, 480))
    pool = DecodePool(SAMPLING, DecodeLimits(slot_mb=1), 1)
    events = pool.run([DecodeJob("c", str(clip), (1,))])
    chunk = next(events)
    assert isinstance(chunk, Chunk)
    assert isinstance(events, Generator)
    events.close()
    assert not workers_of()
    assert chunk.frames.max() > 0  # still readable
    chunk.release()


def test_an_error_in_the_list_of_jobs_reaches_the_caller_and_leaves_no_worker(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=5)

    def jobs() -> Iterator[DecodeJob]:
        yield DecodeJob("c", str(clip), (1,))
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"), DecodePool(SAMPLING, LIMITS, 1) as pool:
        list(pool.run(jobs()))
    assert not workers_of()


def test_a_pool_can_run_again_and_keeps_its_workers(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=5)
    with DecodePool(SAMPLING, LIMITS, 1) as pool:
        pids = set()
        for _ in range(2):
            *_, ending = _released(pool.run([DecodeJob("c", str(clip), (1,))]))
            assert cast(Ending, ending).status == "ok"
            pids |= {worker.pid for worker in workers_of()}
    assert len(pids) == 1


def test_killing_the_parent_leaves_no_worker(tmp_path: Path, hostile: None) -> None:
    spin = write_clip(tmp_path / "spin-1.mp4", frames=96)
    program = textwrap.dedent("""
        import sys
        from pipeline.decode.pool import DecodeJob, DecodePool
        from pipeline.core.options import DecodeLimits, SamplingOptions
        with DecodePool(SamplingOptions(), DecodeLimits(slot_mb=1), 2) as pool:
            for event in pool.run([DecodeJob(str(i), sys.argv[1], (1,)) for i in range(2)]):
                print("chunk", flush=True)
    """)
    # The worker spins before its first chunk is full: that it is at it shows in its CPU time.
    parent = subprocess.Popen([sys.executable, "-c", program, str(spin)], cwd=tmp_path)
    try:
        workers: list[psutil.Process] = []
        until = time.monotonic() + 30
        while time.monotonic() < until and not (
            len(workers) == 2 and all(worker.cpu_times().user > 0.6 for worker in workers)
        ):
            time.sleep(0.1)
            workers = workers_of(parent.pid)
        assert len(workers) == 2
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    assert not still_running(workers, 5)
