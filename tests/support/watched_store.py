"""An object store that a test can look into: how often it was asked, in which order files came; it may refuse some."""

from collections import Counter
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class WatchedStore(MemoryFileSystem):
    """Reached as watched://; one store a process, as fsspec's memory filesystem is."""

    protocol = "watched"
    store: dict[str, Any] = {}  # noqa: RUF012 (fsspec shares it over instances like this)
    pseudo_dirs = [""]  # noqa: RUF012
    calls: Counter[str] = Counter()  # noqa: RUF012
    uploads: list[str] = []  # noqa: RUF012
    refused = ""  # a part of the paths whose upload fails

    @classmethod
    def empty(cls) -> "type[WatchedStore]":
        """The store with nothing in it, ready for use."""
        fsspec.register_implementation("watched", cls, clobber=True)
        cls.store, cls.pseudo_dirs, cls.calls, cls.uploads, cls.refused = {}, [""], Counter(), [], ""
        return cls

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("watched://"))

    def find(self, path: str, **kwargs: Any) -> Any:
        self.calls["list"] += 1
        return super().find(path, **kwargs)

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        self.calls["list"] += 1
        return super().ls(path, detail=detail, **kwargs)

    def info(self, path: str, **kwargs: Any) -> dict:
        self.calls["stat"] += 1
        return super().info(path, **kwargs)

    def exists(self, path: str, **kwargs: Any) -> bool:
        self.calls["stat"] += 1
        return super().exists(path, **kwargs)

    def _open(self, path: str, *args: Any, **kwargs: Any) -> Any:
        self.calls["open"] += 1
        return super()._open(path, *args, **kwargs)

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        if self.refused and self.refused in rpath:
            raise PermissionError(rpath)
        super().put_file(lpath, rpath, **kwargs)
        self.uploads.append(rpath)
