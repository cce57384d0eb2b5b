"""A manifest made from the command line, by the very commands that the documentation shows."""

import json
import shlex
from pathlib import Path

import pytest

from pipeline.ingest.manifest import read_manifests
from tests.docs.pages import ROOT, find
from tests.end_to_end.workspaces import Finished, luigi

PAGE = ROOT / "data_manifest/README.md"
COMMANDS = [match[1] for _, match in find(r"^ *\.venv/bin/luigi (--module tasks MakeManifest .*)$", PAGE)]
VIDEO = "7137423965982673920"


def make(folder: Path, *options: str) -> Finished:
    return luigi(["--module", "tasks", "MakeManifest", *options], folder)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A working folder with what the page's commands read: clips, info.json, a dump of the Research API, an export."""
    (tmp_path / "clips").mkdir()
    (tmp_path / f"clips/{VIDEO}.mp4").touch()
    info = {
        "id": VIDEO,
        "extractor": "TikTok",
        "like_count": 12,
        "timestamp": 1694000000,
        "description": "#Renegade 💃",
    }
    (tmp_path / f"clips/{VIDEO}.info.json").write_text(json.dumps(info))
    video = {"id": int(VIDEO), "like_count": 12, "username": "zoe", "hashtag_names": ["renegade"], "music_id": 7}
    (tmp_path / "videos.jsonl").write_text(json.dumps(video))
    (tmp_path / "export.csv").write_text(f"Post;Likes;Creator followers\n{VIDEO};12;1.2K\n")
    return tmp_path


def test_there_are_commands_on_the_page() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_the_page_makes_a_manifest_that_is_read_without_a_problem(clips: Path, command: str) -> None:
    done = luigi(shlex.split(command), clips)
    assert done.code == 0, done.output
    (batch,) = read_manifests(str(clips / "june.csv"))
    (row,) = batch.rows.to_dict("records")
    assert (row["clip_id"], row["challenge"], row["likes"]) == (VIDEO, "renegade", 12)
    assert Path(row["uri"]) == clips / f"clips/{VIDEO}.mp4"


def test_the_fields_are_shown_and_the_same_again_changes_nothing(clips: Path) -> None:
    options = ("--clips", "clips", "--manifest", "june.csv", "--challenge", "renegade")
    done = make(clips, *options)
    assert ["likes", "like_count", "1", "of", "1", "12"] in [line.split() for line in done.output.splitlines()]
    assert "1 of 1 clips are in the manifest; 1 records were read" in done.output
    assert "written: june.csv" in done.output
    assert "june.csv is there already, and equal" in make(clips, *options).output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--manifest", "june.txt"), "--manifest june.txt: the file's name must"),
        (("--manifest", "june.csv", "--map", "lkies=Likes"), "did you mean likes?"),
        (("--manifest", "june.csv", "--about", "videos.jsonl", "--about", "export.csv"), "make a manifest of each"),
        (("--manifest", "export.csv"), "give another name, or remove it first"),
    ],
)
def test_what_is_wrong_is_told_without_a_traceback(clips: Path, options: tuple[str, ...], words: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in clips.rglob("*")}
    done = make(clips, "--clips", "clips", "--challenge", "renegade", *options)
    assert done.code != 0
    assert words in done.output
    assert "Traceback" not in done.output
    assert {path: path.stat().st_mtime_ns for path in clips.rglob("*")} == before
