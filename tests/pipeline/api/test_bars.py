"""Bars of stages, as text, from the events of a command's log."""

import pytest

from pipeline.api.bars import Bars, are_seen


def progress(done: int, total: int | None, of: str = "june", **counts: int) -> dict:
    return {"event": "progress", "stage": "ExtractBatch", "of": of, "unit": "clip", "done": done, "total": total,
            "counts": counts}  # fmt: skip


def test_a_stage_has_a_bar_from_its_first_progress_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.show({"event": "stage_began", "stage": "ExtractBatch", "of": "june"})
        assert capsys.readouterr().err == ""
        bars.show(progress(0, None))
        assert capsys.readouterr().err.split("\r")[-1].startswith("ExtractBatch june [00:0")
        bars.show(progress(3, 12, ok=2, failed=1))
        assert "25%" in (line := capsys.readouterr().err.split("\r")[-1])
        assert "3/12" in line
        assert "failed=1" in line
        bars.show(progress(6, 12, ok=5, failed=1))
        bars.show(progress(1, 4, of="july"))
        bars.show({"event": "stage_ended", "stage": "ExtractBatch", "of": "june"})
        bars.show({"event": "stage_ended", "stage": "BuildVDV", "of": ""})  # it has said nothing
        said = capsys.readouterr().err
        assert "6/12" in said
        assert "ExtractBatch july:  25%" in said


def test_nobody_sees_bars_where_the_output_is_no_terminal() -> None:
    assert not are_seen()
