"""Files of a workspace: whole or not at all, on every kind of filesystem."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fsspec
import pytest

from pipeline.core import storage
from pipeline.core.errors import WorkspaceError


def test_what_is_written_is_read_back(store: str) -> None:
    path = storage.join(store, "clips", "june", "0001.parquet")
    assert not storage.exists(path)
    storage.write_bytes(path, b"one")
    storage.write_bytes(path, b"two")
    assert storage.exists(path)
    assert storage.read_bytes(path) == b"two"


def test_a_file_that_is_not_there_is_said_to_be_missing(store: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(store, "none"))


def test_a_listing_holds_the_finished_files_by_their_relative_paths(store: str) -> None:
    assert storage.listing(storage.join(store, "features")) == {}
    for name, size in {"a.parquet": 1, "deep/er/b.parquet": 22, "deep/c.parquet": 333}.items():
        storage.write_bytes(storage.join(store, "features", name), b"x" * size)
    storage.write_bytes(storage.join(store, "features2", "d.parquet"), b"")  # a name that starts alike
    with storage.staged(storage.join(store, "features", "unfinished.parquet")) as local:
        local.write_bytes(b"half")
        sizes = storage.listing(storage.join(store, "features"))
    assert sizes == {"a.parquet": 1, "deep/er/b.parquet": 22, "deep/c.parquet": 333}
    assert set(storage.listing(storage.join(store, "features") + "/")) == {*sizes, "unfinished.parquet"}
    assert set(storage.listing(storage.join(store, "features"), recursive=False)) == {"a.parquet", "unfinished.parquet"}


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(store: str, tmp_path: Path) -> None:
    path = storage.join(store, "kept")
    storage.write_bytes(path, b"old")

    def fail() -> None:
        with storage.staged(path) as local:
            local.write_bytes(b"half of the n")
            raise ValueError("the caller's own")

    with pytest.raises(ValueError, match="the caller's own"):
        fail()
    assert storage.read_bytes(path) == b"old"
    assert storage.listing(store) == {"kept": 3}
    assert not list(tmp_path.rglob(".staged-*"))


def test_a_removed_file_is_gone_and_removing_it_again_is_no_error(store: str) -> None:
    path = storage.join(store, "file")
    storage.write_bytes(path, b"x")
    storage.remove(path)
    storage.remove(path)
    assert storage.listing(store) == {}


def test_what_another_client_wrote_is_seen_after_a_listing(s3: str) -> None:
    storage.write_bytes(f"{s3}/folder/first", b"1")
    assert set(storage.listing(f"{s3}/folder")) == {"first"}
    other = fsspec.filesystem("s3", skip_instance_cache=True)
    other.pipe_file(f"{s3}/folder/second", b"22")
    assert set(storage.listing(f"{s3}/folder")) == {"first", "second"}
    assert storage.exists(f"{s3}/folder/second")
    other.pipe_file(f"{s3}/folder/first", b"longer")
    assert storage.read_bytes(f"{s3}/folder/first") == b"longer"


def test_a_listing_of_an_object_store_is_one_request(s3: str, caplog: pytest.LogCaptureFixture) -> None:
    for at in range(20):
        storage.write_bytes(f"{s3}/ws/folder-{at % 5}/file-{at}", b"x")
    with caplog.at_level(logging.INFO, logger="werkzeug"):
        caplog.clear()
        assert len(storage.listing(f"{s3}/ws")) == 20
    requests = [record.getMessage() for record in caplog.records if record.name == "werkzeug"]
    assert len(requests) == 1, requests


_WRITER = """
import itertools, sys
from pipeline.core import storage
size = 300_000
for at in itertools.count():
    with storage.staged(sys.argv[1]) as local:
        with open(local, "wb") as file:
            for _ in range(100):
                file.write(bytes([at % 256]) * (size // 100))
                file.flush()
    print(at, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "workspace" / "file"
    stale = 0
    for attempt in range(20):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(target)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()  # the first file is there; from now on one is always being replaced
        time.sleep(0.0007 * attempt)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        data = target.read_bytes()
        assert len(data) == 300_000
        assert len(set(data)) == 1, "two writes are mixed in one file"
        assert set(storage.listing(str(tmp_path))) == {"workspace/file"}
        left = list(tmp_path.rglob(".staged-*"))
        stale += len(left)
        assert storage.remove_stale(str(tmp_path)) == len(left)
        assert not list(tmp_path.rglob(".staged-*"))
    assert stale, "no kill fell inside a write, so this test showed nothing"


_UPLOADER = _WRITER.replace("size = 300_000", "size = 12_000_000")


def test_an_uploader_killed_at_any_moment_leaves_a_whole_object(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for attempt in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _UPLOADER, f"{s3}/file"], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.03 * attempt)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        data = storage.read_bytes(f"{s3}/file")
        assert len(data) == 12_000_000
        assert len(set(data)) == 1


def test_only_the_temporary_folders_of_dead_uploaders_are_removed(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / f"{storage._OUTBOX}dead"
    dead.mkdir(mode=0o700)
    (dead / "file").write_bytes(b"x")
    young = tmp_path / f"{storage._OUTBOX}young"
    young.mkdir()
    with storage.staged(f"{memory}/file") as living:
        living.write_bytes(b"x")
        hour_ago = time.time() - 3600
        os.utime(dead, (hour_ago, hour_ago))
        os.utime(living.parent, (hour_ago, hour_ago))
        assert storage.remove_stale(memory) == 1
        assert living.exists()
    assert not dead.exists()
    assert young.exists()
    assert storage.read_bytes(f"{memory}/file") == b"x"


def test_a_temporary_folder_of_a_killed_process_is_removed_by_the_next_that_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / f"{storage._OUTBOX}dead"
    dead.mkdir(mode=0o700)
    (dead / "deeper").mkdir()
    (dead / "deeper" / "file").write_bytes(b"x")
    os.utime(dead, (time.time() - 3600,) * 2)
    with storage.temporary_folder() as living:
        assert list(tmp_path.iterdir()) == [living]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("planted", ["file", "fifo", "link", "open folder", "dangling"])
def test_what_others_put_into_the_temporary_folder_is_left_alone(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    place, elsewhere = tmp_path / "tmp" / f"{storage._OUTBOX}planted", tmp_path / "elsewhere"
    place.parent.mkdir()
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "file").write_text("not ours to delete")
    match planted:
        case "file":
            place.write_text("x")
        case "fifo":
            os.mkfifo(place)
        case "link":
            place.symlink_to(elsewhere)
        case "open folder":
            place.mkdir(mode=0o777)
            place.chmod(0o777)
        case "dangling":
            place.symlink_to(tmp_path / "nowhere")
    hour_ago = time.time() - 3600
    for path in (place, elsewhere):
        os.utime(path, (hour_ago, hour_ago), follow_symlinks=False)
    assert storage.remove_stale(memory) == 0
    storage.write_bytes(f"{memory}/file", b"x")
    assert os.path.lexists(place)
    assert (elsewhere / "file").exists()


def test_a_workspace_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkspaceError, match=re.escape(f"cannot write {tmp_path}/file/x: ")) as caught:
        storage.write_bytes(f"{tmp_path}/file/x", b"")
    assert "check that the folder" in str(caught.value)
    with pytest.raises(WorkspaceError, match=r"cannot list .*check that"):
        storage.listing(f"{tmp_path}/file")
    with pytest.raises(WorkspaceError, match=r"cannot read .*check that"):
        storage.read_bytes(str(tmp_path))


def test_a_full_disk_is_named_as_such() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")

    def fill(path: Path) -> None:
        with storage.staged(str(path)), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(WorkspaceError, match=r"No space left on device; free some space"):
            fill(Path(folder) / "file")
        assert os.listdir(folder) == []


def test_a_bucket_that_does_not_exist_is_named(s3_server: str) -> None:
    with pytest.raises(WorkspaceError, match=r"cannot write s3://no-such-bucket/x: .*check the bucket's name"):
        storage.write_bytes("s3://no-such-bucket/x", b"")
    assert storage.listing("s3://no-such-bucket/folder") == {}


def test_a_filesystem_that_does_not_exist_is_named() -> None:
    with pytest.raises(WorkspaceError, match=r"cannot use s4://bucket/x: .*check the s4:// at its start"):
        storage.write_bytes("s4://bucket/x", b"")


def test_a_network_that_is_down_says_what_to_do(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    from s3fs import S3FileSystem

    down = S3FileSystem(
        endpoint_url=f"http://127.0.0.1:{port}", config_kwargs={"retries": {"total_max_attempts": 1}}, use_ssl=False
    )
    down.retries = 1
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda path: (down, path.removeprefix("s3://")))
    for act in (
        lambda: storage.listing("s3://bucket/folder"),
        lambda: storage.read_bytes("s3://bucket/file"),
        lambda: storage.write_bytes("s3://bucket/file", b"x"),
        lambda: storage.exists("s3://bucket/file"),
    ):
        with pytest.raises(
            WorkspaceError, match=r"cannot .* s3://bucket/.*: .*check the network .*AWS_ENDPOINT_URL_S3"
        ):
            act()


def test_a_linked_folder_is_listed_as_if_it_were_there(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"123")
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "moved").symlink_to(tmp_path / "elsewhere")
    assert storage.listing(str(tmp_path / "workspace")) == {"moved/file": 3}


def test_cleaning_up_leaves_what_a_living_writer_has_begun(tmp_path: Path) -> None:
    with storage.staged(str(tmp_path / "a.txt")) as local:
        local.write_text("half")
        assert storage.remove_stale(str(tmp_path)) == 0
    assert (tmp_path / "a.txt").read_text() == "half"
