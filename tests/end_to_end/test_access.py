"""Clips elsewhere: `--allow-uri` lets planning and decode workers read them, and a command fetches each once."""

from pathlib import Path

import fsspec
import pytest

from benchmarks.tiny_clips import render_clip, tiny_world
from benchmarks.unreliable_store import UnreliableStore
from tests.end_to_end.workspaces import run
from tests.support.web_server import web_server


def test_what_a_manifest_may_not_read_ends_with_a_code_and_the_option_lets_it_through(tmp_path: Path) -> None:
    render_clip(tmp_path / "www" / "clip.mp4", seed=1)
    with web_server(tmp_path / "www") as server, web_server(tmp_path / "www") as other:
        rows = {
            "web": f"{server.url}/clip.mp4", "chain": f"simplecache::{server.url}/clip.mp4", "zero": "/dev/zero",
            "redirect": f"{server.url}/to/{other.url}/clip.mp4", "local": "www/clip.mp4",
        }  # fmt: skip
        lines = ["clip_id,uri,challenge", *(f"{name},{uri},x" for name, uri in rows.items())]
        (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
        options = ("--manifest", str(tmp_path / "clips.csv"))

        refused = run("ExtractBatch", tmp_path, *options)
        assert refused.code == 0, refused.output
        assert "1 ok" in refused.output
        assert "4 failed, not_allowed: web, chain, zero, redirect" in refused.output
        assert (server.connections, other.connections) == (0, 0)

        allowed = run(
            "ExtractBatch", tmp_path, *options, "--allow-uri", f"{server.url}/*", "--allow-uri", "simplecache::*"
        )
        assert "3 ok" in allowed.output
        assert "2 failed, not_allowed: zero, redirect" in allowed.output
        assert other.connections == 0


def test_a_command_fetches_each_clip_once_and_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    names = ("a", "b", "c", "d")
    for seed, name in enumerate(names):
        render_clip(tmp_path / "www" / f"{name}.mp4", seed)
    with web_server(tmp_path / "www") as server:
        lines = ["clip_id,uri,challenge", *(f"{name},{server.url}/{name}.mp4,x" for name in names)]
        (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
        options = ("--manifest", str(tmp_path / "clips.csv"), "--allow-uri", f"{server.url}/*", "--modalities", "scene")

        def extract(*more: str) -> dict[str, int]:
            server.fetched.clear()
            done = run("ExtractBatch", tmp_path, *options, *more)
            assert "4 ok" in done.output, done.output
            assert list((tmp_path / "temporary").glob("vdv-*")) == []
            return {path.strip("/").removesuffix(".mp4"): count for path, count in server.fetched.items()}

        assert extract() == dict.fromkeys(names, 1)
        assert extract() == {}
        render_clip(tmp_path / "www" / "b.mp4", seed=9, frames=12)
        assert extract() == {"b": 1}
        assert extract("--fetch-cache-mb", "0", "--workspace", str(tmp_path / "other")) == dict.fromkeys(names, 2)
        shared = ("--owners", "2", "--shard-clips", "1", "--workspace", str(tmp_path / "third"))
        assert extract(*shared) == dict.fromkeys(names, 1)


def test_an_object_is_asked_for_once(tmp_path: Path, s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tiny_world(tmp_path, 6)
    fsspec.filesystem("s3").put(str(tmp_path / "clips"), f"{s3}/clips", recursive=True)
    manifest.write_text(manifest.read_text().replace("clips/", f"{s3}/clips/"))
    with UnreliableStore(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.address)
        done = run("ExtractBatch", tmp_path, "--manifest", str(manifest), "--modalities", "scene")
        assert "6 ok" in done.output, done.output
        clips = {path: count for (method, path), count in proxy.asked.items() if method == "GET" and ".mp4" in path}
    assert [len(clips), set(clips.values())] == [6, {1}]
