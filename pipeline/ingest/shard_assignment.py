"""Assignment of clips to shards, such that a changed manifest costs no more than what changed."""

import hashlib
from collections.abc import Mapping, Sequence

SHARD_CLIPS = 64  # clips of a full shard: minutes of work to lose, and few enough files for a listing
MAX_SMALL = 8  # shards under half full that are let be

Member = tuple[str, str]  # clip_id, content_hash


def assign_shards(
    current: Sequence[Member],
    previous: Mapping[str, Sequence[Member]],
    homes: Mapping[Member, str] | None = None,
    shard_clips: int = SHARD_CLIPS,
    first_number: int = 0,
) -> dict[str, tuple[Member, ...]]:
    """Each shard's members in order, by the shard's name; the same result for the same input.

    current: the usable clips in the manifest's order. previous: the result of last time. homes: the shard of each clip
    that was usable last time; without it all members of `previous` were. first_number: of new shards, at least.

    A shard never changes its members; its name is `<number, 5 digits or more>-<8 hex of its members>`. So:
    * a clip that had a shard last time keeps it;
    * a clip that is new, has new content or comes back goes into a new shard, of at most `shard_clips`. (One that comes
      back does not return to its old shard: files made of that shard in between lack it. It is then a member of both,
      and belongs to the one with the higher number.)
    * a clip no longer in `current` stays a member of its shard in name, until all of that shard's members are gone;
      then the shard is dropped.

    Shards never fill up again, so many small ones gather. When clips are to be placed anyway, and more than MAX_SMALL
    shards would have fewer than `shard_clips` / 2 clips, the smallest are dissolved, as many as together have at most
    `shard_clips` clips, and their clips are placed with the new ones. That is all that is ever done twice: at most
    `shard_clips` clips, and only in a run that has new clips; removing clips costs nothing.
    """
    if shard_clips < 1:
        raise ValueError(f"shard_clips is {shard_clips}; a shard holds at least 1 clip")
    if homes is None:
        homes = home_shards(previous)
    order = {member: position for position, member in enumerate(current)}
    kept: dict[str, list[Member]] = {}  # by shard
    new: list[Member] = []
    for member in order:
        if homes.get(member) in previous:
            kept.setdefault(homes[member], []).append(member)
        else:
            new.append(member)
    if new:
        dissolved = _dissolved(kept, len(new), shard_clips)
        new = sorted([*new, *(member for name in dissolved for member in kept.pop(name))], key=order.__getitem__)
    shards = {name: tuple(previous[name]) for name in sorted(kept, key=_number)}
    number = next_number(previous, first_number)
    for start in range(0, len(new), shard_clips):
        members = tuple(new[start : start + shard_clips])
        shards[shard_name(number, members)] = members
        number += 1
    return shards


def home_shards(shards: Mapping[str, Sequence[Member]]) -> dict[Member, str]:
    """The shard that each member belongs to, if it is usable: the one with the highest number."""
    return {member: name for name in sorted(shards, key=_number) for member in shards[name]}


def next_number(shards: Mapping[str, Sequence[Member]], at_least: int = 0) -> int:
    """The number of the next new shard. No number is used twice: a dropped shard's files may lack some of its clips."""
    return max([at_least, *(_number(name) + 1 for name in shards)])


def _dissolved(kept: Mapping[str, Sequence[Member]], new: int, shard_clips: int) -> list[str]:
    """The small shards whose clips are placed anew; `new` is the number of clips to be placed anyway."""
    small = [name for name in kept if 2 * len(kept[name]) < shard_clips]
    small.sort(key=lambda name: (len(kept[name]), _number(name)))
    remainder = new % shard_clips
    if len(small) + (0 < 2 * remainder < shard_clips) <= MAX_SMALL:
        return []
    chosen: list[str] = []
    clips = 0
    for name in small:
        clips += len(kept[name])
        if clips > shard_clips:
            break
        chosen.append(name)
    return chosen


def shard_name(number: int, members: Sequence[Member]) -> str:
    """Shards of one number in two workspaces differ in name as soon as a member or its content does."""
    text = "\n".join(f"{clip_id} {content_hash}" for clip_id, content_hash in members)
    return f"{number:05d}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _number(name: str) -> int:
    return int(name.split("-", 1)[0])
