"""Clips of web servers, and whatever else is no file of a disk: what may not be read, and what never ends."""

import os
from dataclasses import replace
from pathlib import Path

from pipeline.decode.pool import Chunk, DecodeJob, DecodePool, probe_clips
from tests.pipeline.decode.test_decoders import write_clip
from tests.pipeline.decode.test_pool import LIMITS, SAMPLING, decode
from tests.support.web_server import web_server


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
