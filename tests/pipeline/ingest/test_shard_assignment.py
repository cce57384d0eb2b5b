"""The promises of the assignment of clips to shards, under any history of a manifest."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.shard_assignment import MAX_SMALL, Member, assign_shards, home_shards, next_number, shard_name

Shards = dict[str, tuple[Member, ...]]


def _clips(*names: str) -> list[Member]:
    return [(name, f"hash-{name}") for name in names]


def _home(shards: Shards, current: list[Member]) -> dict[Member, str]:
    home = home_shards(shards)
    return {member: home[member] for member in current}


def test_a_first_batch_is_cut_into_full_shards_in_order() -> None:
    clips = _clips(*"abcdefg")
    shards = assign_shards(clips, {}, shard_clips=3)
    assert list(shards.values()) == [tuple(clips[:3]), tuple(clips[3:6]), tuple(clips[6:])]
    assert [name.split("-")[0] for name in shards] == ["00000", "00001", "00002"]


def test_nothing_changes_when_nothing_changed_but_the_order() -> None:
    clips = _clips(*"abcdefg")
    shards = assign_shards(clips, {}, shard_clips=3)
    assert assign_shards(clips[::-1], shards, shard_clips=3) == shards


def test_one_more_row_makes_one_more_shard_of_that_row() -> None:
    clips = _clips(*"abcd")
    before = assign_shards(clips, {}, shard_clips=3)
    after = assign_shards([*clips[:2], ("new", "n"), *clips[2:]], before, shard_clips=3)
    assert {name: after[name] for name in after if name not in before} == {
        shard_name(2, [("new", "n")]): (("new", "n"),)
    }
    assert before.items() <= after.items()


def test_a_removed_clip_stays_in_name_until_its_whole_shard_is_gone() -> None:
    clips = _clips(*"abcdef")
    before = assign_shards(clips, {}, shard_clips=3)
    assert assign_shards(clips[1:], before, shard_clips=3) == before
    after = assign_shards(clips[3:], before, shard_clips=3)
    assert list(after.values()) == [tuple(clips[3:])]


def test_a_changed_clip_alone_moves() -> None:
    clips = _clips(*"abcdef")
    before = assign_shards(clips, {}, shard_clips=3)
    after = assign_shards([("a", "other"), *clips[1:]], before, shard_clips=3)
    assert _home(after, clips[1:]) == _home(before, clips[1:])
    assert (("a", "other"),) in after.values()


def test_a_clip_that_comes_back_takes_a_new_shard_since_its_old_one_may_lack_it() -> None:
    clips = _clips(*"abc")
    before = assign_shards(clips, {}, shard_clips=3)
    away = assign_shards(clips[1:], before, shard_clips=3)
    back = assign_shards(clips, away, homes=_home(away, clips[1:]), shard_clips=3)
    assert _home(back, clips)[clips[0]] not in before
    again = assign_shards(clips, back, homes=_home(back, clips), shard_clips=3)
    assert again == back


def test_a_dropped_shard_s_number_is_not_used_again() -> None:
    clips = _clips(*"abcdef")
    before = assign_shards(clips, {}, shard_clips=3)
    away = assign_shards(clips[:3], before, shard_clips=3)
    back = assign_shards(clips, away, shard_clips=3, first_number=next_number(before))
    assert set(before) & set(back) == set(away)


def test_two_clips_with_one_content_are_both_kept() -> None:
    clips = [("a", "same"), ("b", "same")]
    assert list(assign_shards(clips, {}).values()) == [tuple(clips)]


def test_rows_added_one_by_one_do_not_gather_ever_more_small_shards() -> None:
    shards: Shards = {}
    current: list[Member] = []
    redone = 0
    for at in range(400):
        before = _home(shards, current)
        current = [*current, (f"c{at}", f"h{at}")]
        shards = assign_shards(current, shards, shard_clips=64)
        after = _home(shards, current)
        moved = sum(before[member] != after[member] for member in before)
        assert moved <= 64
        redone += moved
        small = [name for name, members in shards.items() if len(members) < 32]
        assert len(small) <= MAX_SMALL
    assert len(shards) <= 400 / 32 + MAX_SMALL
    assert redone / 400 < 3  # on average a clip is done again fewer than three times


def test_one_merge_does_at_most_one_shard_s_clips_again() -> None:
    current = [(f"c{at}", "h") for at in range(12 * 30)]
    before: Shards = {}
    for number in range(12):
        members = tuple(current[30 * number : 30 * number + 30])
        before[shard_name(number, members)] = members
    after = assign_shards([*current, ("new", "h")], before, shard_clips=64)
    assert len(set(before) - set(after)) == 2  # 60 clips; a third would make 90
    assert [len(members) for name, members in after.items() if name not in before] == [61]


def test_removing_rows_never_merges() -> None:
    shards: Shards = {}
    current: list[Member] = []
    for at in range(8 * 32):
        current.append((f"c{at}", "h"))
        if at % 32 == 31:
            shards = assign_shards(current, shards, shard_clips=64)
    few = current[::32]
    assert len(shards) > 1
    assert _home(assign_shards(few, shards, shard_clips=64), few) == _home(shards, few)


def test_a_shard_holds_at_least_one_clip() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        assign_shards([], {}, shard_clips=0)


_STATE = st.dictionaries(st.integers(0, 30), st.integers(0, 2), max_size=31)  # clip -> version of its content


@settings(max_examples=150, deadline=None)
@given(st.lists(_STATE, min_size=2, max_size=12), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_promises_hold_under_any_history(history: list[dict[int, int]], shard_clips: int, random: Random) -> None:
    shards: Shards = {}
    current: list[Member] = []
    number = 0
    named: dict[str, tuple[Member, ...]] = {}
    for state in history:
        previous_homes = _home(shards, current)
        previous, before = shards, list(current)
        current = [(f"c{clip}", f"v{version}") for clip, version in state.items()]
        random.shuffle(current)
        shards = assign_shards(current, previous, previous_homes, shard_clips, number)
        number = next_number(shards, number)
        homes = _home(shards, current)  # every clip has a shard

        for name, members in shards.items():
            assert named.setdefault(name, members) == members, "a shard changed its members"
            assert len(members) <= shard_clips
            assert name.split("-")[1] == shard_name(0, members).split("-")[1]
            assert any(homes.get(member) == name for member in members), "a shard without a living clip was kept"
        stayed = [member for member in current if member in set(before)]
        new = [member for member in current if member not in set(before)]
        moved = [member for member in stayed if homes[member] != previous_homes[member]]
        assert all(homes[member] not in previous for member in [*new, *moved]), "a clip was put in an old shard"
        assert len(moved) <= shard_clips
        if moved:
            assert new
            living = [sum(previous_homes[member] == name for member in stayed) for name in previous]
            assert sum(0 < 2 * clips < shard_clips for clips in living) >= MAX_SMALL
        first_number = number - len(set(shards) - set(previous))
        assert assign_shards(current, previous, previous_homes, shard_clips, first_number) == shards
