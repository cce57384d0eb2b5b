"""Work done beside the thread that asks for it, in the order asked, with bounds."""

import queue
import threading
from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import Any


class WorkThread:
    """A thread for pieces of work, one after another, for use in a `with` block.

    The first error of a piece is raised by the next `do`, or where the block ends; no piece after it is done. A block
    that ends by an error of its own, or by Ctrl-C, waits for the piece under way and drops the others.

    Args:
        name: of the thread, in tracebacks.
        waiting: most pieces that wait; `do` blocks while there are so many.
    """

    def __init__(self, name: str, waiting: int) -> None:
        self.blocked_s = 0.0  # that `do` waited for room
        self._pieces: queue.Queue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._error: BaseException | None = None
        self._dropping = False

    def do(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have `work(*arguments)` done, after all that was asked before."""
        self.raise_error()
        start = perf_counter()
        self._pieces.put((work, arguments))
        self.blocked_s += perf_counter() - start

    def __enter__(self) -> "WorkThread":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._dropping = kind is not None
        try:
            self._end()
        except KeyboardInterrupt:  # while waiting for what is left
            self._dropping = True
            self._end()
            raise
        if kind is None:
            self.raise_error()

    def _end(self) -> None:
        self._pieces.put(None)
        self._thread.join()

    def raise_error(self) -> None:
        """Raise the first error of a piece, where there was one."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._dropping or self._error is not None:
                continue  # until the end is asked for, so that nobody waits for room
            work, arguments = piece
            try:
                work(*arguments)
            except BaseException as error:  # noqa: BLE001 (raised where the work was asked for)
                self._error = error
            del piece, work, arguments  # they may hold megabytes, and the next may be long in coming
