"""A clip's challenge, found among its hashtags."""

import pytest

from pipeline.core.errors import OptionError
from pipeline.ingest.exports.challenges import ChallengeRule
from pipeline.ingest.exports.records import JSON, Record

FIELDS = {"hashtags": "tags", "description": "text"}


@pytest.mark.parametrize(
    ("tags", "text", "names"),
    [
        ("Renegade,dance", "", ["renegade"]),
        ("#renegade #dance", "", ["renegade"]),
        ("['renegade', 'dance']", "", ["renegade"]),
        ("", "love it #RENEGADE! 💃", ["renegade"]),
        ("", "#renegade#dance", ["renegade"]),
        ("dance", "(#savage).", ["savage"]),
        ("renegade", "#savage", ["renegade", "savage"]),
        ("", "#cafe\u0301", ["caf\u00e9"]),
        ("", "#renegades renegade #ren", []),
        ("", "", []),
    ],
)
def test_hashtags_are_those_listed_and_those_of_the_description(tags: str, text: str, names: list[str]) -> None:
    rule = ChallengeRule.of("", "hashtag:renegade, #savage,caf\u00e9")
    assert rule.of_hashtags(Record("a", JSON, {"tags": tags, "text": text}), FIELDS) == names


def test_a_challenge_s_name_is_in_its_one_spelling() -> None:
    assert ChallengeRule.of(" cafe\u0301 ", "") == ChallengeRule("caf\u00e9")
    assert ChallengeRule.of("", "hashtag: cafe\u0301,#b,") == ChallengeRule("", "hashtag", ("caf\u00e9", "b"))


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("x", "music", "give one of them"),
        ("", "hashtag", "the tags that are challenges"),
        ("", "hashtag:", "the tags that are challenges"),
        ("", "sound:1", "write hashtag:"),
        ("a\nb", "", "one line"),
        ("", "hashtag:" + "x" * 201, "at most 200"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(name: str, source: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        ChallengeRule.of(name, source)
