"""Clips of web servers, and whatever else is no file of a disk: what may not be read, and what never ends."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.hostile_disk import can_mount
from pipeline.core.options import DecodeLimits
from pipeline.decode.clips import Ending, Probe
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool, probe_clips
from tests.pipeline.access.test_remote_files import fetchers
from tests.pipeline.decode.test_decoders import write_clip
from tests.pipeline.decode.test_pool import LIMITS, SAMPLING, decode, workers_of
from tests.support.web_server import WebServer, web_server


def test_clips_come_over_http_too(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", frames=24)
    with web_server(tmp_path) as server:
        limits = replace(LIMITS, allow_uri=(f"{server.url}/*",))
        _, endings = decode([DecodeJob(n, f"{server.url}/{n}.mp4", (1,)) for n in ("clip", "none")], limits)
        probes = {p.clip_id: p for p in probe_clips([("clip", f"{server.url}/clip.mp4")], limits, 1)}
    assert (endings["clip"].status, endings["clip"].frames) == ("ok", 10)
    assert (endings["none"].code, endings["none"].attempts) == ("missing", 2)
    local = next(iter(probe_clips([("clip", str(tmp_path / "clip.mp4"))], LIMITS, 1)))
    assert probes["clip"] == local


def test_both_decoders_read_a_fetched_clip_as_they_read_a_local_one(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=24)
    with web_server(tmp_path) as server:
        limits = replace(LIMITS, allow_uri=(f"{server.url}/*",))
        jobs = [DecodeJob("local", str(clip), (1,)), DecodeJob("fetched", f"{server.url}/clip.mp4", (1,))]
        for decoder in ("pyav", "decord"):
            pictures: dict[str, list[bytes]] = {"local": [], "fetched": []}
            with DecodePool(replace(SAMPLING, decoder=decoder), limits, 1) as pool:
                for event in pool.run(jobs):
                    if isinstance(event, Chunk):
                        pictures[event.clip_id].append(event.frames.tobytes())
                        event.release()
                    else:
                        assert isinstance(event, Ending)
                        assert (event.status, event.decoder) == ("ok", decoder)
            assert pictures["fetched"] == pictures["local"] != []


def test_what_may_not_be_read_and_what_never_ends_costs_itself_only(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=24)
    os.mkfifo(tmp_path / "pipe")
    with web_server(tmp_path) as server, web_server(tmp_path) as other:
        uris = {
            "good": str(clip), "pipe": f"{tmp_path}/pipe", "device": "/dev/zero", "other": f"{other.url}/clip.mp4",
            "chain": f"simplecache::{other.url}/clip.mp4", "redirect": f"{server.url}/to/{other.url}/clip.mp4",
            "endless": f"{server.url}/endless", "stall": f"{server.url}/stall", "again": f"{server.url}/clip.mp4",
        }  # fmt: skip
        limits = replace(LIMITS, allow_uri=(f"{server.url}/*",), fetch_limit_mb=8, deadline_s=8.0)
        _, endings = decode([DecodeJob(name, uri, (1,)) for name, uri in uris.items()], limits)
        assert other.connections == 0
    codes = {name: (ending.code, ending.attempts) for name, ending in endings.items()}
    assert codes == {
        "good": ("", 1), "again": ("", 1), "endless": ("oversized", 1), "stall": ("deadline", 1),
        **dict.fromkeys(("pipe", "device", "other", "chain", "redirect"), ("not_allowed", 1)),
    }  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    """With six clips, 0.mp4 to 5.mp4."""
    (tmp_path / "www").mkdir()
    for number in range(6):
        write_clip(tmp_path / "www" / f"{number}.mp4", frames=10 + number)
    with web_server(tmp_path / "www") as server:
        yield server


def cached(server: WebServer, folder: Path, limit_mb: int = 64) -> DecodeLimits:
    """Limits that read a server, with a cache in a folder."""
    folder.mkdir(exist_ok=True)
    return replace(LIMITS, allow_uri=(f"{server.url}/*",), fetch_cache=str(folder), fetch_cache_mb=limit_mb)


def uris(server: WebServer) -> dict[str, str]:
    return {f"clip{number}": f"{server.url}/{number}.mp4" for number in range(6)}


def probed(clips: dict[str, str], limits: DecodeLimits) -> dict[str, Probe]:
    return {probe.clip_id: probe for probe in probe_clips(clips.items(), limits, 2)}


def jobs(clips: dict[str, str], probes: dict[str, Probe]) -> list[DecodeJob]:
    return [DecodeJob(name, uri, (1,), probes[name].content_hash) for name, uri in clips.items()]


def clips_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.name != "used")


def test_a_clip_is_fetched_once_to_be_probed_and_decoded(server: WebServer, tmp_path: Path) -> None:
    limits, clips = cached(server, tmp_path / "cache"), uris(server)
    probes = probed(clips, limits)
    assert [len(clips_in(tmp_path / "cache")), server.fetched.total()] == [6, 6]
    _, endings = decode(jobs(clips, probes), limits, workers=2)
    assert {ending.status for ending in endings.values()} == {"ok"}
    assert set(server.fetched.values()) == {1}
    assert clips_in(tmp_path / "cache") == []
    _, endings = decode(jobs(clips, probes), limits, workers=2)  # as for a report's pictures
    assert {ending.status for ending in endings.values()} == {"ok"}
    assert set(server.fetched.values()) == {2}


def test_without_a_cache_a_clip_is_fetched_for_each(server: WebServer) -> None:
    limits, clips = replace(LIMITS, allow_uri=(f"{server.url}/*",)), uris(server)
    decode(jobs(clips, probed(clips, limits)), limits, workers=2)
    assert set(server.fetched.values()) == {2}


def test_what_has_no_room_in_the_cache_is_fetched_again(server: WebServer, tmp_path: Path) -> None:
    for number in range(6):
        with open(tmp_path / "www" / f"{number}.mp4", "ab") as file:
            file.write(bytes(400 * 1024))  # behind the film, where no decoder looks
    limits, clips = cached(server, tmp_path / "cache", limit_mb=1), uris(server)
    probes = probed(clips, limits)
    assert len(clips_in(tmp_path / "cache")) == 2
    _, endings = decode(jobs(clips, probes), limits, workers=2)
    assert {ending.status for ending in endings.values()} == {"ok"}
    assert sorted(server.fetched.values()) == [1, 1, 2, 2, 2, 2]
    assert clips_in(tmp_path / "cache") == []


def test_a_replaced_clip_is_never_taken_for_the_old_one(server: WebServer, tmp_path: Path) -> None:
    limits, clip = cached(server, tmp_path / "cache"), {"clip0": f"{server.url}/0.mp4"}
    old = probed(clip, limits)
    write_clip(tmp_path / "www" / "0.mp4", frames=48)
    new = probed(clip, replace(limits, fetch_cache=""))  # another command
    _, endings = decode(jobs(clip, new), limits)
    assert (endings["clip0"].status, endings["clip0"].frames) == ("ok", 20)
    assert server.fetched["/0.mp4"] == 3
    _, endings = decode(jobs(clip, old), limits)
    assert (endings["clip0"].status, endings["clip0"].frames) == ("ok", 5)  # as it was when it was probed
    _, endings = decode(jobs(clip, old), limits)
    assert endings["clip0"].code == "changed"


def test_a_clip_whose_kept_file_was_damaged_is_fetched_again(server: WebServer, tmp_path: Path) -> None:
    limits, clip = cached(server, tmp_path / "cache"), {"clip0": f"{server.url}/0.mp4"}
    probes = probed(clip, limits)
    (name,) = clips_in(tmp_path / "cache")
    (tmp_path / "cache" / name).write_bytes(b"something else")
    _, endings = decode(jobs(clip, probes), limits)
    assert (endings["clip0"].status, server.fetched["/0.mp4"]) == ("ok", 2)


def test_what_cannot_be_used_is_not_kept(server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "www" / "text.mp4").write_bytes(b"no film")
    limits = cached(server, tmp_path / "cache")
    probes = probed({"text": f"{server.url}/text.mp4", "none": f"{server.url}/none.mp4"}, limits)
    assert {name: probe.code for name, probe in probes.items()} == {"text": "not_a_video", "none": "missing"}
    assert clips_in(tmp_path / "cache") == []


def test_a_clip_that_is_not_there_costs_no_decoder(server: WebServer) -> None:
    limits, pids = replace(LIMITS, allow_uri=(f"{server.url}/*",)), []
    with DecodePool(SAMPLING, limits, 1) as pool:
        for path in ("0.mp4", "none.mp4", "1.mp4"):
            for event in pool.run([DecodeJob(path, f"{server.url}/{path}", (1,))]):
                if isinstance(event, Chunk):
                    event.release()
                    pids += [worker.pid for worker in workers_of()]
    assert len(pids) == 2
    assert len(set(pids)) == 1


def test_one_worker_has_many_clips_fetched_at_once(server: WebServer) -> None:
    limits = replace(LIMITS, allow_uri=(f"{server.url}/*",))
    clips = {f"clip{number}": f"{server.url}/slow/{number % 6}.mp4?{number}" for number in range(60)}
    _, endings = decode([DecodeJob(name, uri, (1,)) for name, uri in clips.items()], limits)
    assert {ending.status for ending in endings.values()} == {"ok"}
    assert len(endings) == 60
    assert 8 <= server.most_slow <= 16


def test_a_folder_is_no_clip(server: WebServer) -> None:
    limits = replace(LIMITS, allow_uri=("*",))
    clips = {"folder": "memory:///", "clip": f"{server.url}/0.mp4"}
    _, endings = decode([DecodeJob(name, uri, (1,)) for name, uri in clips.items()], limits)
    assert {name: ending.code for name, ending in endings.items()} == {"folder": "io", "clip": ""}


def test_clips_go_on_past_one_that_stalls(server: WebServer) -> None:
    limits = replace(LIMITS, allow_uri=(f"{server.url}/*",), deadline_s=15.0)
    stalled = {f"stall{number}": f"{server.url}/stall/{number}" for number in range(2)}
    clips = [*list(uris(server).items())[:2], *stalled.items(), *list(uris(server).items())[2:]]
    _, endings = decode([DecodeJob(name, uri, (1,)) for name, uri in clips], limits)
    assert set(list(endings)[:6]) == set(uris(server))
    assert {name: endings[name].code for name in stalled} == dict.fromkeys(stalled, "deadline")
    assert not any(endings[name].code for name in uris(server))


def test_a_fetching_process_that_dies_costs_no_clip(server: WebServer) -> None:
    limits = replace(LIMITS, allow_uri=(f"{server.url}/*",))
    endings = {}

    def wanted() -> Iterator[DecodeJob]:
        for number in range(20):
            if number == 10:
                (process,) = fetchers()
                process.kill()
            yield DecodeJob(f"clip{number}", f"{server.url}/slow/{number % 6}.mp4?{number}", (1,))

    with DecodePool(SAMPLING, limits, 1) as pool:
        for event in pool.run(wanted()):
            if not isinstance(event, Ending):
                event.release()
            else:
                endings[event.clip_id] = event.status, event.attempts
    assert endings == {f"clip{number}": ("ok", 1) for number in range(20)}
    assert not fetchers()


@pytest.mark.skipif(not can_mount(), reason="this machine lets no user mount a disk to be filled")
def test_a_full_disk_costs_the_cache_and_no_clip(server: WebServer, tmp_path: Path) -> None:
    """On a disk of 8 MB the cache holds 6 MB of clips, and then something that leaves no room for another one."""
    program = textwrap.dedent("""
        import os, shutil, sys
        from pathlib import Path
        from pipeline.access.fetch_cache import CacheFolder, FetchCache
        from pipeline.core.options import DecodeLimits, SamplingOptions
        from pipeline.decode.pool import DecodeJob, DecodePool, probe_clips

        disk, url = Path(sys.argv[1]), sys.argv[2]
        folder = CacheFolder()
        cache = Path(folder.path)
        limits = DecodeLimits(slot_mb=2, allow_uri=(url + "/*",), fetch_cache=folder.path)
        clips = {f"clip{number}": f"{url}/{number}.mp4" for number in range(6)}
        list(probe_clips(clips.items(), limits, 1))
        print("kept", sum(path.name != "used" for path in cache.iterdir()))
        (cache / "more").write_bytes(bytes(shutil.disk_usage(disk).free - 100_000))
        (disk / "small").write_bytes(b"x")
        print("kept", FetchCache(folder.path, 2**30).keep(disk / "small", "uri", "hash"))
        twice = [(f"{name}-{again}", name) for again in (1, 2) for name in clips]
        jobs = [DecodeJob(job, clips[name], (1,)) for job, name in twice]
        with DecodePool(SamplingOptions(), limits, 1) as pool:
            for event in pool.run(jobs):
                if hasattr(event, "status"):
                    print(event.clip_id, event.status, event.attempts, event.reason)
                else:
                    event.release()
        print("more", (cache / "more").exists())
    """)
    disk = tmp_path / "disk"
    disk.mkdir()
    for number in range(6):
        with open(tmp_path / "www" / f"{number}.mp4", "ab") as file:
            file.write(bytes(1024 * 1024))
    mounted = f'mount -t tmpfs -o size=8m none {disk} && TMPDIR={disk} exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mounted, "sh", sys.executable, "-c", program, str(disk), server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["kept 6", "kept False"], done.stderr
    assert sorted(lines[2:-1]) == sorted(f"clip{n}-{again} ok 1 " for again in (1, 2) for n in range(6)), done.stdout
    assert lines[-1] == "more False"
