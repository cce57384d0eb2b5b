"""The work between a manifest and a report, one package a stage, in the order of the data.

core, files, access, decode, music, modalities, ingest, features, extraction, cluster, dataset, training, runs, metrics,
scoring, evaluation, feedback, report, export, commands, purge, api, serve: a package imports those before it, never
those after it (tests/test_architecture.py). None of them knows Luigi.

`from pipeline import Workspace` opens what all of them left (docs/python.md).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api.workspace import Workspace

__all__ = ["Workspace"]


def __getattr__(name: str) -> Any:
    """Import `Workspace` when it is asked for: whoever imports a stage does not need the last one."""
    if name != "Workspace":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline.api.workspace import Workspace

    return Workspace
