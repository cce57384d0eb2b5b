"""Source code that a module runs: its own, and that of all modules of the product that it imports, directly or not."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("models", "pipeline")


@cache
def code_hash(module: str, root: Path = ROOT) -> str:
    """Sha256 of the source of `module` and of everything in PACKAGES that it imports.

    root: folder of the packages.
    """
    code = hashlib.sha256()
    for path in sorted(imported_files(module, root)):
        code.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return code.hexdigest()


def imported_files(module: str, root: Path = ROOT) -> set[Path]:
    """Files of `module`, of the modules in PACKAGES that it imports, within functions too, and of their packages.

    Read from the source; nothing is imported.
    """
    files: set[Path] = set()
    names = [module]
    while names:
        name = names.pop()
        path = _file_of(name, root)
        if path is None or path in files:
            continue
        files.add(path)
        names.append(name.rpartition(".")[0])  # to import a module runs its package's __init__
        for node in _statements(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]  # a module, or a name
    return files


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements of a module, those within others too; a tenth of its nodes."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            left += getattr(node, block, ())


def _file_of(name: str, root: Path) -> Path | None:
    """None: no module of PACKAGES."""
    path = root.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py") if name.partition(".")[0] in PACKAGES else ()
    return next((file for file in candidates if file.is_file()), None)
