"""Whatever kind of file an id or a hash lies in, it is found there; what cannot be read counts as found."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from pipeline.files.checksums import framed, write_parquet
from pipeline.files.spreadsheets import spreadsheet_csv
from pipeline.files.tensors import write_tensors
from pipeline.purge.search import UNREADABLE, Needles, search_file
from tests.support.feature_rows import face_rows
from tests.support.feature_shards import write as write_shard

ID = "clip017"
NEEDLES = Needles(frozenset({ID}), frozenset({"u1"}))


def zipped(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", b"\x80\x02X\x07\x00\x00\x00" + text.encode() + b"q\x01")
    return buffer.getvalue()


def table(path: Path, **columns: object) -> None:
    write_parquet(str(path), pa.table(columns))


def message(text: str) -> str:
    return json.dumps({"message": "line\n" + text})


def page(text: str) -> str:
    data = json.dumps({"clips": {"id": [text]}})
    return f'<html><script type="application/json" id="data">{data}</script><p>nothing</p></html>'


WRITERS: dict[str, Callable[[Path, str], object]] = {
    "table.parquet": lambda path, text: table(path, clip_id=["x", text]),
    "nested.parquet": lambda path, text: table(path, seen=[[{"who": "x"}], [{"who": text}]]),
    "words.parquet": lambda path, text: table(path, word=pa.array(["x", text]).dictionary_encode()),
    "pictures.parquet": lambda path, text: table(path, crop=[{"bytes": b"\xff\xd8" + text.encode() + b"\xff"}]),
    "metadata.parquet": lambda path, text: write_parquet(
        str(path), pa.table({"n": [1]}), {"skipped": json.dumps({text: "corrupt"})}
    ),
    "shard.parquet": lambda path, text: write_shard(path, [face_rows("x"), face_rows(text)]),
    "about.json": lambda path, text: path.write_text(json.dumps({"references": ["x", text]})),
    "log.jsonl": lambda path, text: path.write_text('{"n": 1}\n' + message(text) + "\n"),
    "broken.jsonl": lambda path, text: path.write_text(message(text)[:-1]),
    "broken.json": lambda path, text: path.write_text(f'{{"references": ["{text}"'),
    "report.html": lambda path, text: path.write_text(page(text)),
    "overview.html": lambda path, text: path.write_text(f"<p>the best is {text}</p>"),
    "scores.csv": lambda path, text: path.write_text(spreadsheet_csv(pd.DataFrame({"clip_id": ["x", text]}))),
    "metrics.csv": lambda path, text: path.write_text(f"epoch,loss\n1,0.5\n{text},0\n"),
    "train.log": lambda path, text: path.write_text(f"line\ncannot read /clips/{text}.mp4\n"),
    "log.gz": lambda path, text: path.write_bytes(gzip.compress(f"of {text}".encode())),
    "about.json.gz": lambda path, text: path.write_bytes(gzip.compress(json.dumps({text: 1}).encode())),
    "pose.ckpt": lambda path, text: path.write_bytes(zipped(text)),
    "epoch.ckpt": lambda path, text: path.write_bytes(framed(str(path), zipped(text))),
    "model.safetensors": lambda path, text: write_tensors(str(path), {"w": torch.zeros(2)}, {"of": text}),
    "film.mp4": lambda path, text: path.write_bytes(b"\x00\x00\xff" + text.encode() + b"\x00\xfe"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_an_id_in_a_file_of_each_kind_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, ID)
    hit = search_file(str(path), NEEDLES)
    assert hit is not None
    assert hit[0] == ID


@pytest.mark.parametrize("name", WRITERS)
def test_another_id_in_its_place_is_not(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, "clip0170")
    assert search_file(str(path), Needles(frozenset({ID}), others={"clip0170"})) is None


def test_a_files_own_name_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / f"{ID}.mp4").write_bytes(b"\x00")
    assert search_file(str(tmp_path / f"{ID}.mp4"), NEEDLES) == (ID, "in its name")


def test_the_place_is_said_by_line_or_column(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", clip_id=["x"], creator_id=["u1"])
    assert search_file(str(tmp_path / "a.parquet"), NEEDLES) == ("u1", "in column creator_id")
    (tmp_path / "a.log").write_text(f"x\ny {ID}\n")
    assert search_file(str(tmp_path / "a.log"), NEEDLES) == (ID, "line 2")


@pytest.mark.parametrize(
    ("name", "data"), [("a.parquet", b"PAR1 and no more"), ("a.gz", b"\x1f\x8b\x08broken"), ("b.parquet", b"")]
)
def test_a_file_that_cannot_be_read_is_no_proof(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    hit = search_file(str(tmp_path / name), NEEDLES)
    assert hit is not None
    assert hit[0] == UNREADABLE


def test_numbers_that_spell_an_id_by_chance_are_none(tmp_path: Path) -> None:
    wide = np.frombuffer(ID.encode() + b"\x00", np.float16)
    schema = pa.schema([pa.field("feature", pa.binary(), metadata={"shape": "T,4", "dtype": "float16"})])
    write_parquet(str(tmp_path / "a.parquet"), pa.table({"feature": [wide.tobytes()]}, schema=schema))
    assert search_file(str(tmp_path / "a.parquet"), NEEDLES) is None


def test_a_short_id_is_found_in_a_table_for_spreadsheets_and_a_number_like_it_is_not(tmp_path: Path) -> None:
    columns = {"clip_id": ["x", "a17"], "abstained": [True, False], "likes": [17, 3], "score": [None, 0.5]}
    (tmp_path / "scores.csv").write_text(spreadsheet_csv(pd.DataFrame(columns)))
    assert search_file(str(tmp_path / "scores.csv"), Needles(frozenset({"a17"}))) == ("a17", "line 3")
    assert search_file(str(tmp_path / "scores.csv"), Needles(frozenset({"17"}))) is None


@pytest.mark.parametrize("name", ["about.json", "report.html", "table.parquet", "shard.parquet", "model.safetensors"])
def test_a_short_id_is_found_where_values_are_read(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, "a17")
    hit = search_file(str(tmp_path / name), Needles(frozenset({"a17"})))
    assert hit is not None
    assert hit[0] == "a17"


def test_a_file_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert search_file(str(tmp_path / "gone.json"), NEEDLES) is None


def test_a_name_that_json_escapes_is_found_in_a_log_and_in_what_is_left_of_one(tmp_path: Path) -> None:
    line = json.dumps({"message": "both sides:\nzoë müller, u7"})
    for name, text in {"a.jsonl": f"{{}}\n{line}\n", "b.jsonl": f"{{}}\n{line[:-3]}"}.items():
        (tmp_path / name).write_text(text)
        needles = Needles(frozenset(), frozenset({"zoë müller"}))
        assert search_file(str(tmp_path / name), needles) == ("zoë müller", "line 2")
