"""The bytes that were hashed are the bytes that are decoded, whatever happens to the file meanwhile."""

import gc
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tiny_clips import render_clip
from pipeline.core.clip_source import Source
from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.clips import Ending, Probe
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding
from pipeline.decode.pool import Chunk, DecodeJob, DecodePool, Sound, probe_clips
from tests.pipeline.decode.test_pool import decode
from tests.support.web_server import web_server

SMALL = DecodeLimits(slot_mb=1, slots=1)  # a chunk of pictures of 640 x 480 holds one: the worker waits in between


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two films of one size in bytes, with other pictures."""
    folder = tmp_path_factory.mktemp("films")
    first, second = (
        render_clip(folder / f"{n}.mp4", seed=n, frames=12, fps=10, size=size)
        for n, size in enumerate([(640, 480)] * 2)
    )
    size = max(first.stat().st_size, second.stat().st_size)
    for path in (first, second):
        with open(path, "ab") as file:  # a box that players pass over
            rest = size + 8 - path.stat().st_size
            file.write(rest.to_bytes(4) + b"free" + bytes(rest - 8))
    return first, second


@pytest.fixture
def clip(films: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copy2(films[0], tmp_path / "clip.mp4"))


def put_in_place(other: Path, clip: Path) -> None:
    """As `mv` or `rsync --times` do: another file of the same name, size and time."""
    copy = shutil.copy(other, clip.with_suffix(".new"))
    status = clip.stat()
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(copy, clip)


def write_over(other: Path, clip: Path) -> None:
    clip.write_bytes(other.read_bytes())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def probe(uri: str, limits: DecodeLimits = SMALL) -> Probe:
    (found,) = probe_clips([("clip", uri)], limits, 1)
    return found


@pytest.mark.parametrize("change", [put_in_place, write_over])
def test_a_file_replaced_after_it_was_described_is_not_decoded(
    films: tuple, clip: Path, change: Callable[[Path, Path], None]
) -> None:
    described = probe(str(clip))
    assert described.content_hash == sha256(films[0])
    change(films[1], clip)
    chunks, endings = decode([DecodeJob("clip", str(clip), (1,), described.content_hash)], SMALL)
    ending = endings["clip"]
    assert (ending.status, ending.code, chunks) == ("failed", "changed", [])
    assert str(clip) in ending.reason
    assert decode([DecodeJob("clip", str(clip), (1,), probe(str(clip)).content_hash)], SMALL)[1]["clip"].status == "ok"


def test_a_file_replaced_over_http_is_not_decoded(films: tuple, clip: Path) -> None:
    with web_server(clip.parent) as server:
        uri, limits = f"{server.url}/clip.mp4", replace(SMALL, allow_uri=(f"{server.url}/*",))
        described = probe(uri, limits)
        same = decode([DecodeJob("clip", uri, (1,), described.content_hash)], limits)[1]["clip"]
        put_in_place(films[1], clip)
        other = decode([DecodeJob("clip", uri, (1,), described.content_hash)], limits)[1]["clip"]
    assert (described.content_hash, same.status, other.code) == (sha256(films[0]), "ok", "changed")


def released(events: Iterator[Chunk | Sound | Ending]) -> Iterator[Chunk | Sound | Ending]:
    for event in events:
        yield event
        if isinstance(event, Chunk):
            event.release()


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_file_put_in_place_after_the_clip_was_opened_is_not_read(films: tuple, clip: Path, decoder: str) -> None:
    def pictures(source: Source) -> list[np.ndarray]:
        decoding = ClipDecoding(source, SamplingOptions(), SMALL, lambda _: True, (decoder,))
        return [frame.rgb for frame in decoding.frames()]

    source = fetch(str(clip))
    with source.unchanged(sha256(films[0])):
        put_in_place(films[1], clip)
        np.testing.assert_array_equal(pictures(source), pictures(fetch(str(films[0]))))
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(pictures(source), pictures(fetch(str(clip))))


def test_a_file_written_to_while_it_is_decoded_ends_so(films: tuple, clip: Path) -> None:
    with DecodePool(SamplingOptions(), DecodeLimits(slot_mb=1, slots=1, attempts=1), 1) as pool:
        for event in released(pool.run([DecodeJob("clip", str(clip), (1,), sha256(clip))])):
            if isinstance(event, Chunk):
                write_over(films[1], clip)
    assert isinstance(event, Ending)
    assert (event.status, event.code) == ("failed", "changed")


def test_what_changes_about_a_file_but_its_bytes_does_not_matter(clip: Path) -> None:
    source = fetch(str(clip))
    with source.unchanged():
        clip.touch()
        os.link(clip, clip.with_suffix(".link"))
        clip.unlink()


def test_a_change_is_told_also_where_decoding_failed_of_it(clip: Path) -> None:
    with pytest.raises(ClipError) as caught, fetch(str(clip)).unchanged():  # noqa: PT012
        clip.write_bytes(b"scrap")
        raise ClipError("not_a_video", "scrap")
    assert caught.value.code == "changed"


def test_a_source_is_read_by_several_independently(clip: Path) -> None:
    source = fetch(str(clip))
    first, second = source.open(), source.open()
    assert first.read(100) == second.read(100)
    assert (first.seek(-10, os.SEEK_END), first.read(), first.seek(5), first.seek(5, os.SEEK_CUR), first.tell()) == (
        source.size_bytes - 10, clip.read_bytes()[-10:], 5, 10, 10,
    )  # fmt: skip


def test_open_files_are_closed_with_their_sources(clip: Path) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        list(ClipDecoding(fetch(str(clip)), SamplingOptions(), SMALL, lambda _: True).frames())
    gc.collect()  # a decoder hangs in cycles of references; the worker does so after every clip
    assert len(os.listdir("/proc/self/fd")) == before
