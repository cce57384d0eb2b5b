"""The pages for users, and where on them something stands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("data_manifest/*.md")))


class Found(NamedTuple):
    """A match on a page; `place` is what an editor opens: docs/running.md:5."""

    place: str
    match: re.Match


def find(pattern: str, *pages: Path) -> Iterator[Found]:
    """Every match on the given pages, by default on all; `^` and `$` are a line's ends."""
    for page in pages or PAGES:
        text = page.read_text()
        for match in re.finditer(pattern, text, re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            yield Found(f"{page.relative_to(ROOT)}:{line}", match)
