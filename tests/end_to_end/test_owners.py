"""Networks in two processes from the command line, as on a machine with two GPUs."""

from pathlib import Path

from benchmarks.tiny_clips import tiny_world
from tests.end_to_end.workspaces import contents, run

OPTIONS = ("--manifest", "tiny.csv", "--shard-clips", "2")


def test_two_owners_give_the_features_of_one(tmp_path: Path) -> None:
    tiny_world(tmp_path, 6)
    (tmp_path / "clips/clip003.mp4").write_text("no film")
    one = run("ExtractBatch", tmp_path, *OPTIONS, "--workspace", "one")
    two = run("ExtractBatch", tmp_path, *OPTIONS, "--workspace", "two", "--owners", "2")
    assert one.code == two.code == 0, two.output
    assert "5 ok, 0 partial, 1 failed" in two.output
    assert contents(tmp_path / "two/features") == contents(tmp_path / "one/features") != {}
