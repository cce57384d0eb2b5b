"""Checksums in files: whatever happens to a file, it is found, and what is read is what was written."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.core import storage
from pipeline.core.errors import DamagedFile
from pipeline.files import checksums
from pipeline.files.folder import Folder, read_table
from pipeline.files.tensors import read_tensors, write_tensors
from tests.support.whole_files import cut, flip

TABLE = pa.table({"clip_id": ["a", "b"], "score": [0.5, -1.25]})
KINDS: dict[str, tuple[Callable[[str], None], Callable[[str], object]]] = {
    "x.json": (
        lambda path: storage.write_bytes(path, checksums.json_bytes(path, {"run": "é", "likes": [1, 2.5]})),
        lambda path: checksums.json_content(path, storage.read_bytes(path)),
    ),
    "x.parquet": (
        lambda path: checksums.write_parquet(path, TABLE, {"of": "june"}),
        lambda path: read_table(path).to_dict(),
    ),
    "x.safetensors": (
        lambda path: write_tensors(path, {"weight": torch.arange(6.0)}, {"of": "é", "and": "b"}),
        lambda path: str(read_tensors(path)),
    ),
    "x.ckpt": (
        lambda path: storage.write_bytes(path, checksums.framed(path, b"epoch 7")),
        lambda path: checksums.unframed(path, storage.read_bytes(path)),
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Callable[[], object]]:
    """A whole file of a kind, and reading it."""
    path = tmp_path / request.param
    write, read = KINDS[request.param]
    write(str(path))
    return path, lambda: read(str(path))


def test_what_was_written_is_read_and_the_same_content_is_the_same_file(
    kind: tuple[Path, Callable[[], object]],
) -> None:
    path, read = kind
    before, whole = read(), path.read_bytes()
    KINDS[path.name][0](str(path))
    assert path.read_bytes() == whole
    assert read() == before


def test_whoever_may_read_new_files_may_read_it(kind: tuple[Path, Callable[[], object]]) -> None:
    path, _ = kind
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_no_flipped_bit_goes_unnoticed(kind: tuple[Path, Callable[[], object]]) -> None:
    path, read = kind
    whole = path.read_bytes()
    bits = [(place, bit) for place in range(len(whole)) for bit in range(8)]
    for place, bit in random.Random(0).sample(bits, min(1500, len(bits))):
        flip(path, place, bit)
        with pytest.raises(DamagedFile, match=rf"{path} is damaged"):
            read()
        path.write_bytes(whole)
    read()


@pytest.mark.parametrize("harm", ["empty", "cut", "one byte short", "longer", "zeroed", "of another kind"])
def test_no_other_damage_goes_unnoticed_either(kind: tuple[Path, Callable[[], object]], harm: str) -> None:
    path, read = kind
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": whole[: len(whole) // 2],
            "one byte short": whole[:-1],
            "longer": whole + b"\0",
            "zeroed": bytes(len(whole)),
            "of another kind": b"not at all what it says it is",
        }[harm]
    )
    with pytest.raises(DamagedFile, match=rf"{path} is damaged .*; delete it and run the command that made it again"):
        read()


@pytest.mark.parametrize("name", ["x.json", "x.parquet", "x.safetensors"])
def test_planning_finds_cut_files_on_every_filesystem_and_flipped_ones_on_a_disk(store: str, name: str) -> None:
    path = storage.join(store, name)
    KINDS[name][0](path)
    checksums.check_file(path)
    whole = storage.read_bytes(path)
    harmed = [b"", whole[: len(whole) // 2], whole[:-1]]
    if storage.is_local(path):
        harmed.append(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    for data in harmed:
        storage.write_bytes(path, data)
        with pytest.raises(DamagedFile):
            checksums.check_file(path)
    storage.remove(path)
    with pytest.raises(FileNotFoundError):
        checksums.check_file(path)


def test_a_damaged_file_is_removed_with_a_warning_when_it_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder(str(tmp_path))
    folder.write_json("latest.json", {"run": "runs/a"})
    assert folder.is_intact("latest.json")
    assert folder.read_intact_json("latest.json") == {"run": "runs/a"}
    cut(tmp_path / "latest.json", 0.5)
    assert folder.read_intact_json("latest.json") is None
    assert f"{tmp_path}/latest.json is damaged" in caplog.text
    assert not (tmp_path / "latest.json").exists()
    assert not folder.is_intact("latest.json")


def test_files_without_room_for_a_checksum_are_checked_by_the_file_beside_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder(str(tmp_path))
    for name in ("report.html", "table.md"):
        (tmp_path / name).write_text(name)
    hashes = folder.hashes("report.html", "table.md")
    assert folder.have_hashes(hashes)
    flip(tmp_path / "table.md", 3)
    assert not folder.have_hashes(hashes)
    assert "table.md is damaged" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_json_stays_json_and_a_name_is_no_checksum(tmp_path: Path) -> None:
    data = checksums.json_bytes("x", {"checksum": "a run of this name", "other": "b"})
    assert json.loads(data)["checksum"] == "a run of this name"
    assert checksums.json_content("x", data) == {"checksum": "a run of this name", "other": "b"}
    assert checksums.json_content("x", checksums.json_bytes("x", {})) == {}
    again = checksums.json_bytes("x", json.loads(data) | {"other": "c"})
    assert checksums.json_content("x", again)["other"] == "c"


def test_a_checksum_among_the_data_deceives_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    checksums.write_parquet(path, TABLE)
    stated = pq.read_metadata(path).metadata[b"checksum"].decode()
    checksums.write_parquet(path, pa.table({"clip_id": [stated, "0" * 64]}), {"reason": "0" * 64})
    assert read_table(path)["clip_id"].tolist() == [stated, "0" * 64]


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_file_in_another_one_s_place_is_damage(tmp_path: Path, name: str) -> None:
    write, read = KINDS[name]
    mine, other = tmp_path / "runs/1" / name, tmp_path / "runs/2" / name
    for path in (mine, other):
        path.parent.mkdir(parents=True)
        write(str(path))
    before = read(str(mine))
    shutil.copy(other, mine)
    with pytest.raises(DamagedFile, match=rf"{mine} is damaged"):
        read(str(mine))
    write(str(mine))
    (tmp_path / "runs").rename(tmp_path / "moved")
    (tmp_path / "workspace").mkdir()
    (tmp_path / "moved").rename(tmp_path / "workspace/runs")
    assert read(str(tmp_path / "workspace/runs/1" / name)) == before


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"x.ckpt"}))
def test_a_file_that_is_copied_out_of_its_workspace_can_be_read_there(tmp_path: Path, name: str) -> None:
    write, read = KINDS[name]
    write(str(tmp_path / "runs/1" / name))
    shutil.copy(tmp_path / "runs/1" / name, tmp_path / name)
    assert read(str(tmp_path / name)) == read(str(tmp_path / "runs/1" / name))


def test_a_place_is_a_path_in_a_workspace_wherever_that_lies() -> None:
    assert checksums.place_of("s3://runs/clips/ws/latest.json") == "latest.json"
    assert checksums.place_of("/data/runs/ws/features/pose/1/june/0.parquet") == "features/pose/1/june/0.parquet"
    assert checksums.place_of("runs/names.json") == "runs/names.json"
    assert checksums.place_of("elsewhere/pose.parquet") == checksums.place_of("runs") == ""
