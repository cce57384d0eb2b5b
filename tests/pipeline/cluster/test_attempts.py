"""Which shards are handed out, to whom, and what becomes of those that kill processes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.cluster.attempts import KILLED, Attempt, Attempts
from pipeline.core.errors import CLIP_CODES
from pipeline.features.plan import ShardPlan, plan_shards
from tests.support.extraction import BATCH, SAMPLING, ingested, specs


def plans(workspace: Path, shards: int = 2, clips: int = 3) -> tuple[ShardPlan, ...]:
    paths = {f"{shard:05d}-a": [Path(f"clip{shard}{place}.mp4") for place in range(clips)] for shard in range(shards)}
    return plan_shards(str(workspace), BATCH, ingested(paths), specs("pose", "face"), SAMPLING).shards


def unchanged(plan: ShardPlan) -> ShardPlan | None:
    return plan


def run(attempts: Attempts, kills: Callable[[Attempt], bool], with_machine: bool = False) -> list[Attempt]:
    """Have one process do all that is handed out; the attempts, in order."""
    taken = []
    while attempts.left:
        attempt = attempts.take(idle=True)
        assert attempt is not None
        taken.append(attempt)
        if kills(attempt):
            attempts.lost(attempt, killed=not with_machine)
        elif attempts.done(attempt):
            attempts.published(attempt)
    return taken


def ids(clips: Sequence) -> list[str]:
    return [clip.clip_id for clip in clips]


def test_a_clip_that_kills_is_found_by_trials_and_left_out(tmp_path: Path) -> None:
    def kills(attempt: Attempt) -> bool:
        return "clip01" in set(ids(attempt.plan.clips)) - set(ids(attempt.plan.failed))

    taken = [attempt for attempt in run(Attempts(plans(tmp_path), unchanged), kills) if attempt.shard == "00000-a"]
    assert [attempt.clip_id for attempt in taken] == ["", "", "clip00", "clip01", "clip01", "clip02", ""]
    assert [attempt.alone for attempt in taken] == [False] + 6 * [True]
    trials = [attempt.plan for attempt in taken if attempt.clip_id]
    assert all(plan.members == (plan.clips[0].clip_id,) and plan.shard != "00000-a" for plan in trials)
    last = taken[-1].plan
    assert (last.shard, ids(last.clips), ids(last.failed)) == ("00000-a", ["clip00", "clip01", "clip02"], ["clip01"])
    assert (last.failed[0].status, last.failed[0].code) == ("failed", KILLED)
    assert CLIP_CODES[KILLED].retryable


def test_a_shard_that_kills_though_no_clip_of_it_does_is_given_up_whole(tmp_path: Path) -> None:
    def kills(attempt: Attempt) -> bool:
        return len(attempt.plan.clips) - len(attempt.plan.failed) > 1

    taken = run(Attempts(plans(tmp_path, shards=1), unchanged), kills)
    assert len(taken) == 2 + 3 + 2 + 1
    assert ids(taken[-1].plan.failed) == ids(taken[-1].plan.clips)


def test_machines_that_die_are_no_fault_of_a_shard_until_they_are_many(tmp_path: Path) -> None:
    died = []

    def kills(attempt: Attempt) -> bool:
        died.append(attempt)
        return len(died) <= 5

    taken = run(Attempts(plans(tmp_path, shards=1), unchanged), kills, with_machine=True)
    assert [attempt.clip_id for attempt in taken] == 6 * [""]
    assert taken[-1].plan.failed == ()


def test_a_process_that_holds_something_is_given_nothing_that_is_to_be_alone(tmp_path: Path) -> None:
    attempts = Attempts(plans(tmp_path), unchanged)
    first = attempts.take(idle=True)
    assert first is not None
    attempts.lost(first, killed=True)
    assert attempts.take(idle=False) is None
    assert attempts.take(idle=True) == replace(first, alone=True)


def test_a_lost_shard_is_planned_again_from_what_is_there(tmp_path: Path) -> None:
    (pose, face) = specs("pose", "face")
    there: list[ShardPlan | None] = [None]

    def again(plan: ShardPlan) -> ShardPlan | None:
        return there[0] and replace(plan, missing=(face,))

    attempts = Attempts(plans(tmp_path), again)
    first, second = attempts.take(idle=True), attempts.take(idle=False)
    assert first is not None and second is not None  # noqa: PT018
    assert attempts.lost(first, killed=True), "another command has made it"
    there[0] = second.plan
    assert not attempts.lost(second, killed=True)
    third = attempts.take(idle=True)
    assert third is not None
    assert (third.shard, third.plan.missing) == (second.shard, (face,))
    assert pose in second.plan.missing
    assert not attempts.lost(third, killed=True)
    trial = attempts.take(idle=True)
    assert trial is not None
    assert (trial.clip_id, trial.plan.missing) == ("clip10", (face,))
