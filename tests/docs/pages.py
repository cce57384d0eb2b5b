"""The pages for users, where on them something stands, and the Python on them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Example:
    place: str  # of its first line: docs/parquet.md:75
    code: str

    def run(self, names: dict) -> None:
        """Lines are counted as on the page, and named by it when the example fails."""
        page, line = self.place.rsplit(":", 1)
        exec(compile("\n" * (int(line) - 1) + self.code, str(ROOT / page), "exec"), names)


def examples(page: Path) -> list[Example]:
    return [Example(place, match[1]) for place, match in find(r"(?<=^```python\n)((?:.*\n)*?)```$", page)]
