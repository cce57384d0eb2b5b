"""The order in which shards are handed out, and again after the process that had one has died.

A shard whose process died is tried again, from then on by a process that holds nothing else. One that killed two
processes is tried clip by clip, for nothing but to see which clips kill; then it is extracted whole, without those.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.decode.clips import Ending
from pipeline.features.plan import ShardPlan

KILLED = "killed_extraction"  # of errors.CLIP_CODES
_KILLS = 2  # processes that a shard, or a clip, may kill before it is taken for the cause
_LOSSES = 6  # processes that it may lose, with their machines or not


@dataclass(frozen=True)
class Attempt:
    """A plan to be handed to one process."""

    shard: str
    plan: ShardPlan
    alone: bool  # the process may hold nothing beside it: whatever kills that is of this plan
    clip_id: str = ""  # of a trial: the plan is of this clip, and its files are nobody's


@dataclass
class _Losses:
    killed: int = 0
    lost: int = 0

    def add(self, killed: bool) -> None:
        self.killed += killed
        self.lost += 1

    @property
    def too_many(self) -> bool:
        return self.killed >= _KILLS or self.lost >= _LOSSES


@dataclass
class _Shard:
    """A shard that is not published yet."""

    plan: ShardPlan
    losses: _Losses = field(default_factory=_Losses)
    untried: set[str] = field(default_factory=set)  # clips whose trials have not ended
    of_clips: dict[str, _Losses] = field(default_factory=dict)
    tried: bool = False


class Attempts:
    """What there is to hand out.

    Args:
        plan_again: what of a plan is still to do, or None, of what is in the workspace now.
    """

    def __init__(self, plans: Sequence[ShardPlan], plan_again: Callable[[ShardPlan], ShardPlan | None]):
        self._plan_again = plan_again
        self._shards = {plan.shard: _Shard(plan) for plan in plans}  # those that are not done
        self._waiting = deque(Attempt(plan.shard, plan, alone=False) for plan in plans)

    @property
    def left(self) -> bool:
        """Whether any shard is not done."""
        return bool(self._shards)

    def take(self, idle: bool) -> Attempt | None:
        """The next attempt for a process; None: there is none for it now. idle: it holds nothing."""
        if not self._waiting or (self._waiting[0].alone and not idle):
            return None
        return self._waiting.popleft()

    def done(self, attempt: Attempt) -> bool:
        """Take note of an attempt that went well; whether its files are to be published."""
        if not attempt.clip_id:
            return True
        self._end_trial(attempt)
        return False

    def published(self, attempt: Attempt) -> None:
        """Take note that a shard is in the workspace."""
        del self._shards[attempt.shard]

    def lost(self, attempt: Attempt, killed: bool) -> bool:
        """Take note of an attempt whose process died; whether its shard proves to be in the workspace already.

        killed: the process alone died, and not its machine.
        """
        shard = self._shards[attempt.shard]
        if attempt.clip_id:
            losses = shard.of_clips[attempt.clip_id]
            losses.add(killed)
            if not losses.too_many:
                self._waiting.appendleft(attempt)
                return False
            reason = f"{losses.lost} processes that extracted it alone were killed, often because memory ran out"
            self._fail(shard, [attempt.clip_id], reason)
            self._end_trial(attempt)
            return False
        shard.losses.add(killed)
        plan = self._plan_again(shard.plan)
        if plan is None:
            del self._shards[attempt.shard]
            return True
        shard.plan = plan
        if not shard.losses.too_many:
            self._waiting.appendleft(Attempt(attempt.shard, plan, alone=True))
        elif not shard.tried:
            self._begin_trials(attempt.shard, shard)
        else:
            reason = f"{shard.losses.lost} processes that extracted its shard were killed, and by no clip of it alone"
            self._fail(shard, [clip.clip_id for clip in plan.clips], reason)
            self._waiting.appendleft(Attempt(attempt.shard, shard.plan, alone=True))
        return False

    def _begin_trials(self, name: str, shard: _Shard) -> None:
        for place, clip in reversed(list(enumerate(shard.plan.clips))):
            shard.untried.add(clip.clip_id)
            shard.of_clips[clip.clip_id] = _Losses()
            plan = replace(shard.plan, shard=f"{name}.{place}", members=(clip.clip_id,), clips=(clip,))
            self._waiting.appendleft(Attempt(name, plan, alone=True, clip_id=clip.clip_id))

    def _end_trial(self, attempt: Attempt) -> None:
        shard = self._shards[attempt.shard]
        shard.untried.remove(attempt.clip_id)
        if not shard.untried:
            shard.tried, shard.losses = True, _Losses()
            self._waiting.appendleft(Attempt(attempt.shard, shard.plan, alone=True))

    @staticmethod
    def _fail(shard: _Shard, clip_ids: Sequence[str], reason: str) -> None:
        known = {ending.clip_id for ending in shard.plan.failed}
        new = tuple(Ending(clip_id, "failed", KILLED, reason) for clip_id in clip_ids if clip_id not in known)
        shard.plan = replace(shard.plan, failed=(*shard.plan.failed, *new))


def statuses(endings: Sequence[Ending]) -> Counter[str]:
    """Clips by status."""
    return Counter(ending.status for ending in endings)
