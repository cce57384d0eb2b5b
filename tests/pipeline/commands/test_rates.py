"""Rates from summaries, and the time that work will take by them."""

from typing import Any

import pytest

from pipeline.commands.forecast import StageWork, forecast
from pipeline.commands.rates import Rates, batch_times
from pipeline.commands.work import BatchWork, ClipWork

CPU = ("demo", "cpu")


def extraction(took_s: float, video_s: float, profile: str = "demo", device: str = "cpu", **networks: float) -> dict:
    modalities = {name: {"took_s": seconds, "video_s": video_s} for name, seconds in networks.items()}
    about = {"profile": profile, "device": device, "video_s": video_s, "modalities": modalities}
    return {"stage": "ExtractBatch", "took_s": took_s, "outcome": "done", **about}


def rates(*stages: dict[str, Any]) -> Rates:
    return Rates.of([{"stages": [stage]} for stage in stages])


def work(video_s: float = 200.0, unprobed: int = 0, unstated: int = 0, **seconds: float) -> BatchWork:
    """A batch of clips of 10 s."""

    def clips(video_s: float) -> ClipWork:
        return ClipWork(int(video_s / 10) + unstated, 1, video_s, 1000, unstated)

    modalities = {name: clips(value) for name, value in seconds.items()}
    return BatchWork("june", 100, unprobed, 0, 0, clips(video_s), modalities)


def test_networks_take_their_time_a_second_of_video_and_decoding_what_is_left_of_the_stage() -> None:
    measured = rates(extraction(100, 50, pose=60, face=20), extraction(50, 50, pose=20))
    times = batch_times(measured, work(pose=200, face=100), *CPU)
    assert times.modalities == pytest.approx({"pose": 200 * 80 / 100, "face": 100 * 20 / 50})
    assert times.decoding == pytest.approx(200 * (20 + 30) / 100)
    assert times.ingest == 0


def test_rates_are_of_one_profile_and_kind_of_device_and_nothing_is_assumed_of_others() -> None:
    measured = rates(extraction(100, 50, pose=60))
    assert batch_times(measured, work(pose=200), "demo", "cuda").parts == (0, None, None)
    assert batch_times(measured, work(pose=200), "full", "cpu").parts == (0, None, None)
    assert batch_times(measured, work(pose=200, scene=200), *CPU).modalities["scene"] is None


def test_what_is_not_to_be_done_takes_no_time_though_it_was_never_measured() -> None:
    assert batch_times(Rates(), work(video_s=0, pose=0), *CPU).parts == (0, 0, 0)


def test_of_clips_that_do_not_state_how_long_they_are_the_time_is_not_known() -> None:
    assert batch_times(rates(extraction(100, 50, pose=60)), work(video_s=0, unstated=3, pose=0), *CPU).parts == (
        0, None, None,
    )  # fmt: skip


def test_a_stage_that_failed_or_had_nothing_to_do_gives_no_rate() -> None:
    failed = extraction(100, 50, pose=60) | {"outcome": "failed"}
    idle = {"stage": "ExtractBatch", "took_s": 0.1, "outcome": "done"}
    known = {"stage": "IngestBatch", "took_s": 0.2, "outcome": "done", "clips": 0}
    assert rates(failed, idle, known) == Rates()


def test_probing_takes_its_time_a_clip() -> None:
    measured = rates({"stage": "IngestBatch", "took_s": 5, "outcome": "done", "clips": 10})
    assert batch_times(measured, work(unprobed=100), *CPU).ingest == pytest.approx(50)


def test_later_stages_are_reckoned_by_their_amount_in_the_same_unit_and_those_that_are_made_are_left_out() -> None:
    trained = {"stage": "TrainFusion", "took_s": 30, "outcome": "done", "amount": 300, "unit": "clip", "device": "cpu"}
    stages = [
        StageWork("AssembleDataset", True, 100, "clip", "cpu"),
        StageWork("TrainFusion", False, 600, "clip", "cpu"),
        StageWork("CrossValidate", False, 600, "clip", "cpu"),
        StageWork("TrainFusion", False, 600, "clip", "cuda"),
        StageWork("RunAblations", False),
        StageWork("BuildVDV", False, 0),
    ]
    found = forecast(rates(trained), [work(video_s=0)], stages, *CPU)
    assert [(stage.stage, time) for stage, time in found.stages.items()] == [
        ("TrainFusion", 60), ("CrossValidate", None), ("TrainFusion", None), ("RunAblations", None), ("BuildVDV", 0),
    ]  # fmt: skip
    assert found.known_s == 60
    assert found.unmeasured == ["CrossValidate", "TrainFusion", "RunAblations"]
    assert not found.nothing


def test_a_forecast_adds_up_what_is_known_and_names_the_rest() -> None:
    measured = rates(
        extraction(100, 50, pose=60), {"stage": "IngestBatch", "took_s": 5, "outcome": "done", "clips": 10}
    )
    found = forecast(measured, [work(pose=200, face=200), work(unprobed=10)], [], *CPU)
    assert found.known_s == pytest.approx(200 * 60 / 50 + 2 * 200 * 40 / 50 + 5)
    assert found.unmeasured == ["face"]
    assert found.unprobed == 10
    assert forecast(measured, [BatchWork("june", 9, 0, 0, 0, ClipWork(), {"pose": ClipWork()})], [], *CPU).nothing
