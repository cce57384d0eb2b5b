"""`--allow-uri`: planning and decode workers read what it allows, and nothing else."""

from pathlib import Path

from benchmarks.tiny_clips import render_clip
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
