"""The benchmark of hostile films makes the same films each time, and counts what it says that it counts."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.hostile_films import SOUND, Attacked, Outcomes, judged, outcomes
from benchmarks.mutations import KINDS, Film, base_films, hostile_films
from pipeline.core import storage
from pipeline.decode.clips import Ending, Probe


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    return base_films(tmp_path_factory.mktemp("bases"), 1)


def test_the_kinds_take_turns_and_a_seed_makes_the_same_films_again(bases: list[Film]) -> None:
    films = list(hostile_films(bases, 2 * len(KINDS), 15))
    assert [kind for kind, _ in films] == [*KINDS, *KINDS]
    assert films == list(hostile_films(bases, 2 * len(KINDS), 15))
    assert films != list(hostile_films(bases, 2 * len(KINDS), 16))


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_changes_the_films(bases: list[Film], kind: str) -> None:
    place, whole = list(KINDS).index(kind), {film.data for film in bases}
    films = [film.data for _, film in hostile_films(bases, 12 * len(KINDS), 15)][place :: len(KINDS)]
    assert sum(data not in whole for data in films) >= 9  # where a film states no size, none is changed
    assert all(films)


KINDS_OF = {"good": SOUND, "bad": "noise", "cut": "cut off"}
FOUND = Outcomes(
    {"good": Probe("good"), "bad": Probe("bad", code="not_a_video", reason="why"), "cut": Probe("cut")},
    {"good": Ending("good", "ok", "", ""), "cut": Ending("cut", "failed", "no_frames", "why", decode_s=1.0)},
    frozenset(["good"]),
    {"cut": "no_frames"},
    (),
)
ATTACKED = Attacked(0, 1.0, 3, 100.0, 0)


def wrong(found: Outcomes = FOUND, attacked: Attacked = ATTACKED) -> dict[str, int]:
    counts = judged(KINDS_OF, found, attacked, 10.0)["must_be_0"]
    return {name: count for name, count in counts.items() if count}


def test_a_run_in_which_all_is_as_it_must_be_counts_nothing() -> None:
    assert wrong() == {}
    results = judged(KINDS_OF, FOUND, ATTACKED, 10.0)
    assert results["codes"] == {"not_a_video": 1, "no_frames": 1}
    assert results["kinds"]["cut off"] == {"endings": {"failed": 1}, "codes": {"no_frames": 1}}


@pytest.mark.parametrize(
    "found",
    [
        replace(FOUND, probes={name: probe for name, probe in FOUND.probes.items() if name != "bad"}),
        replace(FOUND, endings={"good": FOUND.endings["good"]}),
        replace(FOUND, skipped={}),
        replace(FOUND, written=frozenset(["good", "cut"])),
        replace(FOUND, written=frozenset(["good", "bad"])),
        replace(FOUND, probes={**FOUND.probes, "bad": Probe("bad", code="not_a_video")}),
        replace(FOUND, endings={**FOUND.endings, "cut": Ending("cut", "failed", "unheard_of", "why")}),
    ],
)
def test_a_clip_that_a_table_lacks_or_does_not_explain_is_counted(found: Outcomes) -> None:
    assert wrong(found) == {"rows silently missing": 1}


def test_whatever_else_must_not_be_is_counted() -> None:
    assert wrong(attacked=replace(ATTACKED, code=30)) == {"crashes of the run": 1}
    assert wrong(attacked=replace(ATTACKED, orphans=2)) == {"orphaned processes": 2}
    assert wrong(replace(FOUND, partial_files=("clips/.staged-1.part",))) == {"partial files": 1}
    late = replace(FOUND.endings["cut"], decode_s=16.0)
    assert wrong(replace(FOUND, endings={**FOUND.endings, "cut": late})) == {"clips past their deadline": 1}
    ending = Ending("good", "partial", "corrupt", "why")
    assert wrong(replace(FOUND, endings={**FOUND.endings, "good": ending})) == {"sound films not ok": 1}


def test_what_a_writer_left_is_seen_in_a_workspace_that_holds_nothing_else(tmp_path: Path) -> None:
    assert outcomes(tmp_path) == Outcomes({}, {}, frozenset(), {}, ())
    with storage.staged(str(tmp_path / "clips/table.parquet")) as unfinished:
        unfinished.write_bytes(b"half")
        assert outcomes(tmp_path).partial_files == (f"clips/{unfinished.name}",)
    assert outcomes(tmp_path).partial_files == ()
