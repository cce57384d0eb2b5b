"""Bars of a command's stages: widgets in a notebook with ipywidgets, text in other notebooks and on a terminal."""

import sys
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tqdm import TqdmWarning
from tqdm.std import tqdm

_NOT_COUNTED = "{desc} [{elapsed}]"  # of a stage that has not said of how many, or never does


class Bars:
    """A bar a stage, moved by the events of a command's log (docs/progress.md). Bars of stages that ended stay."""

    def __init__(self) -> None:
        self._bars: dict[tuple[str, str], tqdm] = {}  # by stage and batch, of those at work

    def show(self, event: Mapping[str, Any]) -> None:
        """Show an event: of progress, or of a stage's end. Others are passed over."""
        if event["event"] == "progress":
            self._move(event)
        elif event["event"] == "stage_ended":
            bar = self._bars.pop((event["stage"], event["of"]), None)
            if bar is not None:  # of a bar without a total nobody may ask whether it is true
                bar.close()

    def _move(self, event: Mapping[str, Any]) -> None:
        stage, of, total = event["stage"], event["of"], event["total"]
        bar = self._bars.get((stage, of))
        if bar is None:
            bar = self._bars[stage, of] = _new_bar(f"{stage} {of}".strip(), event["unit"])
        if total != bar.total:  # it is known once networks are loaded: from then on there is a rate
            bar.bar_format = None
            bar.reset(total)
        counts = {name: count for name, count in event["counts"].items() if name != "ok"}
        bar.set_postfix(counts, refresh=False)
        bar.update(event["done"] - bar.n)
        bar.refresh()

    def __enter__(self) -> "Bars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._bars:  # of stages that were killed or interrupted
            self._bars.popitem()[1].close()


def are_seen() -> bool:
    """Whether somebody looks: on a terminal, or in a notebook. Elsewhere, as in a service, bars would fill its log."""
    return is_notebook() or sys.stderr.isatty()


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config


def say(text: str) -> None:
    """Print a command's words around the bars: where a command does, or in a notebook, which paints that red, below."""
    tqdm.write(text, file=sys.stdout if is_notebook() else sys.stderr)


def _new_bar(title: str, unit: str) -> tqdm:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # that there is no ipywidgets: text will do
        from tqdm.auto import tqdm as best
    return best(desc=title, unit=unit, dynamic_ncols=True, bar_format=_NOT_COUNTED)
