"""What the pages name is there: files, folders, modules, and the targets of links."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, find

CHANGELOG = ROOT / "CHANGELOG.md"
NAMED = [*PAGES, ROOT / "CONTRIBUTING.md"]
FOLDERS = "benchmarks|data_manifest|docs|examples|models|pipeline|simulation|tasks|tests"
OF_USERS = {"data_manifest/june", "data_manifest/june.csv"}  # in commands: files that a user would have


def test_a_path_named_on_a_page_exists() -> None:
    pattern = rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w(?![\w./-]*[<*{{])"  # no pattern of paths: results/<name>.json
    found = [(place, match[0]) for place, match in find(pattern, *NAMED) if match[0] not in OF_USERS]
    assert len(found) > 80
    assert not [pair for pair in found if not (ROOT / pair[1]).exists()]


def test_a_module_named_on_a_page_exists() -> None:
    pattern = rf"(?<![\w/.-])(?:{FOLDERS})(?:\.\w+)+(?![\w/])"
    found = [(place, match[0]) for place, match in find(pattern, *NAMED)]
    found += [
        (place, name) for place, row in find(r"^  \| `(?:pipeline|models)\..*", CHANGELOG) for name in now(row[0])
    ]
    found = [(place, name) for place, name in found if not name.endswith((".md", ".svg"))]
    assert len(found) > 15
    assert not [(place, name) for place, name in found if not _module_or_name(name)]


def now(row: str) -> list[str]:
    """Full names of the last column of CHANGELOG's table of modules, where `.name` stands beside the one before it."""
    names: list[str] = []
    for name in re.findall(r"`([\w.]+)`", row.split("|")[2]):
        names.append(names[-1].rpartition(".")[0] + name if name.startswith(".") else name)
    return names


def _module_or_name(dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    try:
        return importlib.util.find_spec(dotted) is not None
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("page", [*NAMED, CHANGELOG], ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for place, match in find(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)", page):
        target = Path(page.parent, match[1]) if match[1] else page
        assert target.exists(), f"{place}: {match[1]}"
        if match[2]:
            assert match[2] in headings(target), f"{place}: {match[2]}"


def headings(page: Path) -> set[str]:
    """Names of a page's headings as GitHub links to them."""
    lines = (line.lstrip("#").strip().lower() for line in page.read_text().splitlines() if line.startswith("#"))
    return {"".join(c for c in line.replace(" ", "-") if c.isalnum() or c in "-_") for line in lines}
