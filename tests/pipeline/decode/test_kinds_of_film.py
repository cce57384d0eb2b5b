"""Every kind of film ends as docs/clip-endings.md says, and shows the film, whichever decoder comes first."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.core.options import DecodeLimits, SamplingOptions
from pipeline.decode.container import fetch
from pipeline.decode.decoders import ClipDecoding
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


@pytest.mark.parametrize("name", FILMS)
def test_a_film_ends_as_the_page_says_whichever_decoder_comes_first(name: str, tmp_path: Path) -> None:
    clip = FILMS[name](tmp_path / name)
    times = []
    for decoder in ("auto", "decord", "pyav"):
        sampling = SamplingOptions(decoder=decoder)
        decoding = ClipDecoding(fetch(str(clip)), sampling, DecodeLimits(), lambda _: True)
        frames = list(decoding.frames())
        assert (decoding.status, decoding.code, len(frames), decoding.expected) == ROWS[name], decoding.reason
        assert bool(decoding.reason) == (decoding.status != "ok")
        assert [frame.position for frame in frames] == list(range(len(frames)))
        assert all(frame.rgb[..., 1].mean() > frame.rgb[..., 0].mean() for frame in frames), "not the film"
        times.append([(frame.frame_index, frame.timestamp) for frame in frames])
        steps = [after.timestamp - before.timestamp for before, after in pairwise(frames)]
        assert all(step > 0 for step in steps)
    assert times[0] == times[1] == times[2]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("joined.ts", 4.0), ("joined_earlier.ts", 4.0), ("jumping.ts", 4.0), ("scraps.ts", 2.0), ("wrapping.ts", 2.0),
     ("reordered.avi", 2.0), ("reordered_mpeg4.avi", 2.0), ("no_times.h264", 2.0)],
)  # fmt: skip
def test_where_timestamps_are_wrong_pictures_follow_each_other_evenly(
    name: str, seconds: float, tmp_path: Path
) -> None:
    clip = FILMS[name](tmp_path / name)
    sampling = SamplingOptions(sample_fps=1000.0)
    frames = list(ClipDecoding(fetch(str(clip)), sampling, DecodeLimits(), lambda _: True).frames())
    assert [frame.frame_index for frame in frames] == list(range(round(24 * seconds)))
    assert [frame.timestamp for frame in frames] == pytest.approx(
        [place / 24 for place in range(len(frames))], abs=1e-4
    )


@pytest.mark.parametrize("max_seconds", [0.5, 1.0, 1.4, 3.0])
def test_what_comes_after_max_seconds_is_no_part_of_the_ending(max_seconds: float, tmp_path: Path) -> None:
    clip = FILMS["gap.mkv"](tmp_path / "gap.mkv")  # 2.5 s are missing after 1 s
    decoding = ClipDecoding(fetch(str(clip)), SamplingOptions(max_seconds=max_seconds), DecodeLimits(), lambda _: True)
    list(decoding.frames())
    assert decoding.status == ("ok" if max_seconds < 1.5 else "partial")
