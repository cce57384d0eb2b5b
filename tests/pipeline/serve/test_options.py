"""Options of the service: what they may be, what the page says of them, and what they let through."""

from pathlib import Path

import pytest

from pipeline.core.errors import OptionError
from pipeline.serve.__main__ import serve
from pipeline.serve.options import TOKEN, parse_options, parser
from pipeline.serve.scorer import decode_limits
from tests.docs.pages import ROOT, find

IN_WORDS = {"one a core": 0, "the run's": 0.0, "nothing": []}
ROWS = [
    pytest.param(match[1], match[2], id=place)
    for place, match in find(r"^\| (`--[a-z-]+`(?:, `--[a-z-]+`)*) \| (.*?) \| .*$", ROOT / "docs/serve.md")
]


@pytest.mark.parametrize(("names", "defaults"), ROWS)
def test_the_page_says_the_defaults_that_the_options_have(names: str, defaults: str) -> None:
    options = vars(parser().parse_args(["--run", "june"]))
    for name, shown in zip(names.split(", "), defaults.split(", "), strict=True):
        default = options[name.strip("`-").replace("-", "_")]
        written = f"{default:g}" if isinstance(default, float) else str(default)
        assert (default == IN_WORDS[shown]) if shown in IN_WORDS else (written == shown), name


def test_the_page_has_rows() -> None:
    assert len(ROWS) >= 9


@pytest.mark.parametrize(
    "words",
    [("--queue", "0"), ("--max-mb", "0"), ("--answer-s", "nan"), ("--level", "1"), ("--port", "70000"),
     ("--device", "tpu")],
)  # fmt: skip
def test_a_value_out_of_range_is_named(words: tuple[str, str]) -> None:
    with pytest.raises(OptionError, match=words[0]):
        parse_options(["--run", "june", *words], {})


def test_a_token_that_no_header_can_send_is_refused() -> None:
    with pytest.raises(OptionError, match=TOKEN):
        parse_options(["--run", "june"], {TOKEN: "two words"})
    assert parse_options(["--run", "june"], {TOKEN: "s3cret"}).token == "s3cret"


def test_fetched_clips_have_the_limits_of_uploaded_ones() -> None:
    words = ["--run", "june", "--max-mb", "7", "--allow-uri", "https://media.example.org/*", "--allow-uri", "https://*"]
    limits = decode_limits(parse_options(words, {}))
    assert limits.fetch_limit_mb == 7
    assert limits.allow_uri == ("https://media.example.org/*",)


def test_a_run_that_is_not_there_starts_nothing_and_says_which_are(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no run of the name or id 'june'"):
        serve(parse_options(["--run", "june", "--workspace", str(tmp_path)], {}), lambda address: None)
