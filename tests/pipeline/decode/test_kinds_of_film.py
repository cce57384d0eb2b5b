"""Every kind of film ends as docs/clip-endings.md says, and shows the film, whichever decoder comes first."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode import sampling as decode_sampling
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding, Frame
from tests.support.made_films import FILMS

_PAGE = Path(__file__).parents[3] / "docs" / "clip-endings.md"
ROWS = {
    name: (status, code, int(frames), int(expected))
    for name, status, code, frames, expected in re.findall(
        r"^\| `(\w+\.\w+)` \| [^|]+ \| (\w+)(?:: (\w+))? \| (\d+) of (\d+) \|$", _PAGE.read_text(), re.MULTILINE
    )
}


def test_the_page_has_a_row_for_every_kind() -> None:
    assert list(ROWS) == list(FILMS)


def decode(clip: Path, sampling: SamplingOptions) -> tuple[ClipDecoding, list[Frame]]:
    decoding = ClipDecoding(fetch(str(clip)), sampling, DecodeLimits(), lambda _: True)
    return decoding, list(decoding.frames())


@pytest.mark.parametrize("name", [name for name in FILMS if ROWS[name][0] == "failed"])
def test_a_film_fails_as_the_page_says(name: str, tmp_path: Path) -> None:
    with pytest.raises(ClipError) as caught:
        decode(FILMS[name](tmp_path / name), SamplingOptions())
    assert ("failed", caught.value.code, 0, 0) == ROWS[name]


@pytest.mark.parametrize("name", [name for name in FILMS if ROWS[name][0] != "failed"])
def test_a_film_ends_as_the_page_says_whichever_decoder_comes_first(name: str, tmp_path: Path) -> None:
    clip = FILMS[name](tmp_path / name)
    of_auto: list[Frame] = []
    for decoder in ("auto", "decord", "pyav"):
        decoding, frames = decode(clip, SamplingOptions(decoder=decoder))
        assert (decoding.status, decoding.code, len(frames), decoding.expected) == ROWS[name], decoding.reason
        assert bool(decoding.reason) == (decoding.status != "ok")
        assert [frame.position for frame in frames] == list(range(len(frames)))
        assert all(frame.rgb[..., 1].mean() > frame.rgb[..., 0].mean() for frame in frames), "not the film"
        assert all(before.timestamp < after.timestamp for before, after in pairwise(frames))
        of_auto = of_auto or frames
        for frame, other in zip(frames, of_auto, strict=True):
            assert (frame.frame_index, frame.timestamp) == (other.frame_index, other.timestamp)
            assert np.abs(frame.rgb.astype(int) - other.rgb).mean() < 3.0


@pytest.mark.parametrize(
    "name", ["joined_earlier.ts", "jumping.ts", "negative_start.mp4", "edited_end.mp4", "held.mp4"]
)
def test_pictures_left_out_change_nothing_whatever_the_timestamps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = FILMS[name](tmp_path / name)
    _, ours = decode(clip, SamplingOptions())
    monkeypatch.setattr(decode_sampling, "_PROGRESSIVE", -1)
    _, plain = decode(clip, SamplingOptions())
    assert [(f.frame_index, f.timestamp, f.rgb.tobytes()) for f in ours] == [
        (f.frame_index, f.timestamp, f.rgb.tobytes()) for f in plain
    ]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("joined.ts", 4.0), ("joined_earlier.ts", 98 / 24), ("jumping.ts", 4.0), ("scraps.ts", 2.0), ("wrapping.ts", 2.0),
     ("reordered.avi", 2.0), ("reordered_mpeg4.avi", 2.0), ("no_times.h264", 2.0)],
)  # fmt: skip
def test_where_timestamps_are_wrong_pictures_follow_each_other_evenly(
    name: str, seconds: float, tmp_path: Path
) -> None:
    clip = FILMS[name](tmp_path / name)
    decoding, frames = decode(clip, SamplingOptions(sample_fps=1000.0))
    assert decoding.header.fps == 24
    assert [frame.frame_index for frame in frames] == list(range(round(24 * seconds)))
    assert [frame.timestamp for frame in frames] == pytest.approx(
        [place / 24 for place in range(len(frames))], abs=1e-4
    )


@pytest.mark.parametrize(("name", "whole_s"), [("gap.mkv", 1.4), ("cut.mp4", 2.3), ("cut.mkv", 3.0)])
def test_what_comes_after_max_seconds_is_no_part_of_the_ending(name: str, whole_s: float, tmp_path: Path) -> None:
    clip = FILMS[name](tmp_path / name)
    for max_seconds, status in [(0.5, "ok"), (whole_s, "ok"), (whole_s + 1.2, "partial")]:
        assert decode(clip, SamplingOptions(max_seconds=max_seconds))[0].status == status
