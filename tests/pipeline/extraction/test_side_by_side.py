"""Networks side by side: the rows of one after another, nothing left running behind an error, and honest seconds."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.extractors.extractor import Extractor
from pipeline.extraction.batches import Batcher, Launched
from pipeline.extraction.side_by_side import SideBySide
from tests.support.extraction import CPU, bits, extract, rows_by_clip, specs, tiny
from tests.support.square_finder import SquareFinder


@pytest.fixture
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def batchers(*modalities: str) -> list[Batcher]:
    return [Batcher(SquareFinder(modality)) for modality in modalities]


def test_rows_are_those_of_one_after_another(
    clips: list[Path], tmp_path: Path, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = specs("pose", "scene", "appearance")
    threads = set()

    def build(modality: str) -> Extractor:
        extractor = tiny(modality)
        prepare = extractor.prepare

        def noted(frames: torch.Tensor) -> object:
            threads.add(threading.current_thread().name)
            return prepare(frames)

        monkeypatch.setattr(extractor, "prepare", noted)
        return extractor

    extract(tmp_path / "together", {"00000-a": clips[:3]}, wanted, build=build)
    assert threads == {"network_0", "network_1"}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    extract(tmp_path / "in turn", {"00000-a": clips[:3]}, wanted)
    for spec in wanted:
        together, in_turn = (rows_by_clip(tmp_path / name, spec) for name in ("together", "in turn"))
        assert together.keys() == in_turn.keys() != set()
        assert all(bits(together[clip]) == bits(in_turn[clip]) for clip in together)


def test_two_run_at_a_time_each_on_a_core_and_the_order_is_that_of_the_calls(two_cores: None) -> None:
    first, second = batchers("pose", "face")
    both, cores = threading.Barrier(2, timeout=30), []

    def meet(batcher: Batcher) -> list[Launched]:
        both.wait()
        cores.append(torch.get_num_threads())
        return [Launched(batcher.extractor, None, [])]

    with SideBySide(CPU, 2) as together:
        launched = together.run({first: lambda: meet(first), second: lambda: meet(second)})
    assert [one.extractor for one in launched] == [first.extractor, second.extractor]
    assert cores == [1, 1]


def test_an_error_is_raised_when_nothing_reads_the_frames_any_more(two_cores: None) -> None:
    first, second = batchers("pose", "face")
    failed, ended = threading.Event(), []

    def fail() -> list[Launched]:
        failed.set()
        raise ValueError("no face")

    def go_on() -> list[Launched]:
        failed.wait(30)
        time.sleep(0.1)
        ended.append(True)
        return []

    with SideBySide(CPU, 2) as together:
        with pytest.raises(ValueError, match="no face"):
            together.run({first: fail, second: go_on})
        assert ended


def test_seconds_add_up_to_the_time_that_passed(two_cores: None) -> None:
    first, second = batchers("pose", "face")

    def work(batcher: Batcher, seconds: float) -> list[Launched]:
        time.sleep(seconds)
        batcher.seconds += seconds
        return []

    with SideBySide(CPU, 2) as together:
        start = time.perf_counter()
        together.run({first: lambda: work(first, 0.3), second: lambda: work(second, 0.1)})
        took = time.perf_counter() - start
    assert first.seconds + second.seconds == pytest.approx(took, rel=0.05)
    assert first.seconds == pytest.approx(3 * second.seconds)


def test_a_gpu_is_fed_by_one_thread(two_cores: None) -> None:
    first, second = batchers("pose", "face")
    names = []

    def note() -> list[Launched]:
        names.append(threading.current_thread().name)
        return []

    with SideBySide(torch.device("cuda"), 2) as together:
        together.run({first: note, second: note})
    assert set(names) == {threading.current_thread().name}
