"""A decode worker as its parent sees it: started, given one clip at a time, killed when it must be, and replaced.

A `WorkerProcess` is used by one thread, which lives as long as the pool (a worker dies with the thread that started
it). Only `release` is called from elsewhere. Messages are JSON in both directions: the worker handles hostile input, so
nothing it sends is ever unpickled.
"""

import json
import logging
import mmap
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from pipeline.access.prefetch import Fetched
from pipeline.access.remote_files import RemoteFiles
from pipeline.access.rules import is_plain, matches, scheme
from pipeline.core import storage
from pipeline.core.errors import CLIP_CODES, VdvError
from pipeline.core.import_path import module_command, module_environment
from pipeline.core.options import DecodeLimits, SamplingOptions

log = logging.getLogger(__name__)

_START_S = 120.0  # a worker's imports on a busy machine with a cold disk
_POLL_S = 0.2  # how soon a stopping pool is noticed
_MESSAGE_BYTES = 64 * 2**20  # no message is longer; an ending's sketches take 0.7 KiB a second of the clip
# Pictures are megabytes each: glibc would map and unmap, and the kernel clear, every single one.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}  # fmt: skip
_LOST = ("crash", "deadline", "memory")  # codes of a clip whose worker did not live to say how the clip ends
_RETRY_PAUSE_S = 0.5  # before another try of what the network or the disk refused


class WorkerError(VdvError):
    """Processes cannot be started, or one that extracts was killed; no clip is the cause."""

    code = "worker"


class Stopped(Exception):
    """Raised when the pool is closing; whatever was under way is dropped."""


class WorkerProcess:
    """A worker that is replaced when it dies; its shared memory outlives the processes that come and go."""

    def __init__(self, sampling: SamplingOptions, limits: DecodeLimits, stop: threading.Event):
        self.limits, self._sampling, self._stop = limits, sampling, stop
        self.slot_bytes = limits.slot_mb * 2**20
        self._memory_fd = _anonymous_file(limits.slots * self.slot_bytes)
        self.memory = mmap.mmap(self._memory_fd, limits.slots * self.slot_bytes, prot=mmap.PROT_READ)
        self._fetched = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)  # clips from elsewhere, one by one
        self._elsewhere = RemoteFiles(limits, self._fetched.fileno(), stop.is_set)
        self._stderr = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (closed by `close`)
        self._lock = threading.Lock()  # guards what `release` shares with the worker's thread
        self._lent: set[int] = set()  # slots whose chunks the consumer still holds
        self._waiting = False  # the worker waits for a slot: its clock stands still
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None

    def run(self, job: dict, fetched: Fetched | None = None) -> Iterator[tuple[int, dict]]:
        """Run a job, again where its failure may pass; yield (attempt, event), the last one being `done`.

        The deadline is for all tries together: a clip that hangs costs it once. Where the last try is lost only after
        all pictures were decoded, the clip ends as those do, and its sound is undecodable.

        fetched: the clip's file, or why there is none, if it was fetched ahead; for another try it is fetched anew.

        Raises: Stopped, WorkerError.
        """
        worked_s = 0.0
        for attempt in range(1, self.limits.attempts + 1):
            for event in self._run_once(job, worked_s, fetched if attempt == 1 else None):
                if event["event"] == "done":
                    here, pictures = event.pop("here", True), event.pop("pictures", None)
                    worked_s = event["decode_s"]
                    event["attempts"] = attempt
                    retry = bool(event.get("code")) and CLIP_CODES[event["code"]].retryable
                    if retry and here:
                        self.kill()  # the next try, or the next clip, gets a fresh worker
                    if retry and attempt < self.limits.attempts and worked_s < self.limits.deadline_s:
                        if event["code"] in ("io", "missing"):
                            self._stop.wait(_RETRY_PAUSE_S)
                        break
                    if pictures is not None and event["code"] in _LOST:
                        yield attempt, _sound_lost(event)
                        event |= pictures | {"event": "done"}
                    yield attempt, event
                    return
                yield attempt, event

    def _run_once(self, job: dict, worked_s: float, fetched: Fetched | None) -> Iterator[dict]:
        """One try. Ends with a `done` event in every case, made here when the worker did not live to send it: `here`
        is False where the worker had nothing to do with it.

        worked_s: what earlier tries took.
        """
        fetched = self._fetched_anew(job["uri"], worked_s) if fetched is None else fetched
        if fetched is not None:
            worked_s += fetched.seconds
            if fetched.answer.code:
                yield {"event": "done", "status": "failed", "code": fetched.answer.code,
                       "reason": fetched.answer.reason, "decode_s": worked_s, "here": False}  # fmt: skip
                return
            job = {**job, "fetched": str(fetched.path)}
        if self._process is None:
            self._start()
        else:
            os.ftruncate(self._stderr.fileno(), 0)
        self._waiting = False
        with self._lock:
            self._send(job)
        clock = time.monotonic()
        pictures = None
        while True:
            event = self._next_event(_POLL_S if self._waiting else min(_POLL_S, self.limits.deadline_s - worked_s))
            now = time.monotonic()
            if not self._waiting:
                worked_s += now - clock
            clock = now
            if event is None:
                if worked_s >= self.limits.deadline_s:
                    self.kill()
                    reason = f"not done after {self.limits.deadline_s:g} s of decoding; the worker was killed"
                    yield {"event": "done", "status": "failed", "code": "deadline", "reason": reason,
                           "decode_s": worked_s, "pictures": pictures}  # fmt: skip
                    return
            elif event["event"] == "wait":
                with self._lock:
                    # Slots that came back before this event was read are on their way to the worker already.
                    self._waiting = len(self._lent) == self.limits.slots
            elif event["event"] == "done":
                yield {**event, "decode_s": worked_s, "pictures": pictures}
                return
            elif event["event"] == "pictures":
                pictures = event
            else:
                if "slot" in event:
                    with self._lock:
                        self._lent.add(event["slot"])
                yield event
                # The time that the caller took to pass the event on is not the worker's, but the worker went on
                # meanwhile; the clock keeps running only while this thread waits for it.
                clock = time.monotonic()

    def _fetched_anew(self, uri: str, worked_s: float) -> Fetched | None:
        """A clip fetched into this worker's own file; None: it is on a disk. Raises: Stopped."""
        if not self._must_be_fetched(uri):
            return None
        clock = time.monotonic()
        answer = self._elsewhere.fetch(uri, self.limits.deadline_s - worked_s)
        if answer is None:
            raise Stopped
        path = Path(f"/proc/self/fd/{self._fetched.fileno()}")  # the worker has it by the same number
        return Fetched(path, seconds=time.monotonic() - clock, answer=answer)

    def _must_be_fetched(self, uri: str) -> bool:
        """Whether a clip is not on a disk of this machine. The worker itself has no network."""
        if scheme(uri) != "file":
            return True
        try:  # what is no file on a disk, and yet allowed, may never end: it is copied as far as the limit
            return matches(uri, self.limits.allow_uri) and not is_plain(os.stat(storage.local_path(uri)))
        except OSError:  # the worker says why
            return False

    def release(self, slot: int) -> None:
        """Lend a slot to the worker again, now that the consumer is done with it. Any thread."""
        with self._lock:
            self._lent.discard(slot)
            self._waiting = False
            self._send({"op": "free", "slot": slot})

    def kill(self) -> None:
        """End the process, however stuck it is, and reap it."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """End the process for good; chunks that a consumer still holds stay readable until it drops them."""
        self.kill()
        self._elsewhere.close()
        self._fetched.close()
        self._stderr.close()
        if self._memory_fd >= 0:
            os.close(self._memory_fd)
        self._memory_fd = -1

    def _start(self) -> None:
        os.ftruncate(self._stderr.fileno(), 0)
        connection, far_end = Pipe()
        setting = {
            "parent": os.getpid(), "connection": far_end.fileno(), "memory": self._memory_fd,
            "sampling": asdict(self._sampling), "limits": asdict(self.limits),
        }  # fmt: skip
        with far_end:
            self._process = subprocess.Popen(
                module_command("pipeline.decode.worker", json.dumps(setting)),
                pass_fds=(far_end.fileno(), self._memory_fd, self._fetched.fileno()), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=self._stderr, env={**module_environment(), **_ENVIRONMENT},
            )  # fmt: skip
        with self._lock:
            # In one go: from now on `release` frees its slot by itself, and a slot freed twice would be filled twice.
            self._connection = connection
            for slot in range(self.limits.slots):
                if slot not in self._lent:
                    self._send({"op": "free", "slot": slot})
        until = time.monotonic() + _START_S
        event = None
        while event is None and time.monotonic() < until:
            event = self._next_event(_POLL_S)
        if event is None or event["event"] != "ready":
            error = self._stderr_summary() or "it printed nothing"
            self.kill()
            raise WorkerError(f"a decode worker does not start ({error}); is vdv installed whole?")
        _warn_of(*event["lacking"])

    def _next_event(self, timeout_s: float) -> dict | None:
        """The worker's next event; None when none comes in time; a `done` of code crash when it has died.

        Raises: Stopped.
        """
        assert self._connection is not None
        if self._stop.is_set():
            raise Stopped
        if not self._connection.poll(max(0.0, timeout_s)):
            return None
        try:
            return json.loads(self._connection.recv_bytes(_MESSAGE_BYTES))
        except (EOFError, OSError):
            return self._crashed()

    def _crashed(self) -> dict:
        assert self._process is not None
        self._process.kill()  # no effect on the dead; one that only broke off its messages must not be waited for
        status = self._process.wait()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        reason = f"the worker died by {how}"
        if error := self._stderr_summary():
            reason += f": {error}"
        self.kill()
        return {"event": "done", "status": "failed", "code": "crash", "reason": reason}

    def _stderr_summary(self) -> str:
        """The most telling line of the worker's stderr: a fatal error's, else the last; at most 300 characters."""
        self._stderr.seek(0)
        lines = [line for line in self._stderr.read(1 << 16).decode(errors="replace").splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith("Fatal Python error")]
        return (fatal or lines[-1:] or [""])[0][:300]

    def _send(self, command: dict) -> None:
        """Caller holds the lock. Commands are small, and few are under way: the connection's buffer never fills."""
        if self._connection is not None:
            with suppress(ConnectionError):  # the worker has died: reading its events finds out how
                self._connection.send_bytes(json.dumps(command).encode())


def _sound_lost(done: dict) -> dict:
    """The event of a sound whose decoding ended the worker."""
    return {"event": "sound", "samples": 0, "first": 0, "count": 0, "heard": (0.0, 0.0), "code": "undecodable",
            "reason": done["reason"]}  # fmt: skip


@cache
def _warn_of(*lacking: str) -> None:
    """Say once a process what workers could not be kept from."""
    for what in lacking:
        log.warning(f"warning: while clips are decoded {what}; see docs/clip-endings.md")


def _anonymous_file(size: int) -> int:
    """A file descriptor of memory without a name: nothing is left behind by a kill, and /dev/shm's limit (64 MB in
    containers) does not apply.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("vdv-frames")
    else:
        descriptor, path = tempfile.mkstemp(prefix="vdv-frames-")
        os.unlink(path)
    os.ftruncate(descriptor, size)
    return descriptor
