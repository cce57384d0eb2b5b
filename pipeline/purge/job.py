"""A purge under way: what it takes out, kept in a file so that it goes on after a kill; and the steps of its work.

purge.json    in the workspace, from the first change to the proof; the only file that may name the clips until then
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from pipeline.core import storage
from pipeline.core.errors import DamagedFile, WorkspaceError
from pipeline.files.folder import Folder
from pipeline.ingest.tombstones import JOB

Action = Literal["deleted", "rewritten", "marked"]


@dataclass(frozen=True)
class Source:
    """Where a clip of the user's lies that is purged: a file, and the manifest that names it."""

    clip_id: str
    uri: str
    batch: str
    manifest: str  # path or URL; empty: not known


@dataclass(frozen=True)
class Job:
    """What a purge takes out, and how far shards have got new names for it."""

    clip_ids: tuple[str, ...]  # sorted, with those of `copies`
    contents: tuple[str, ...]  # sha256, hex, of their files, of all that they ever had here; sorted
    creators: tuple[str, ...] = ()  # those that were asked for by name
    copies: tuple[str, ...] = ()  # clips that were not asked for, and are or were the same file as one that was
    alike: tuple[str, ...] = ()  # clips that stay, and show the same pictures as one that goes
    sources: tuple[Source, ...] = ()
    shards: dict[str, dict[str, str]] = field(default_factory=dict)  # batch: {shard: its new name, "": none is left}

    def covers(self, other: "Job") -> bool:
        """Whether all that the other takes out is taken out by this one."""
        return set(other.clip_ids) <= set(self.clip_ids) and set(other.creators) <= set(self.creators)

    def with_shards(self, batch: str, renamed: dict[str, str]) -> "Job":
        return replace(self, shards=self.shards | {batch: self.shards.get(batch, {}) | renamed})

    def renamed(self) -> dict[tuple[str, str], str]:
        """New names by (batch, shard); "": nothing is left of it."""
        return {(batch, shard): new for batch, shards in self.shards.items() for shard, new in shards.items()}


@dataclass(frozen=True)
class Place:
    """A file of the workspace that holds something of the clips, and what becomes of it."""

    path: str  # relative to the workspace
    action: Action
    why: str = ""


@dataclass(frozen=True)
class Step:
    """A part of the work, whole or not at all; done again, it changes nothing."""

    works: tuple[str, ...]  # the pieces of work (pipeline.core.locks) that it must hold, in this order
    places: tuple[Place, ...]
    do: Callable[[], None]


def deleting(folder: Folder, names: list[str], why: str, work: str) -> Step:
    """The step that deletes files of a folder. names: relative to it."""

    def do() -> None:
        for name in names:
            storage.remove(folder.file(name))

    prefix = f"{folder.place}/" if folder.place else ""
    return Step((work,), tuple(Place(prefix + name, "deleted", why) for name in names), do)


def read_job(workspace: str) -> Job | None:
    """The purge that was begun and has not ended; None: there is none. Raises WorkspaceError: its file is damaged."""
    try:
        content = Folder(workspace).read_json(JOB)
    except FileNotFoundError:
        return None
    except DamagedFile as damaged:
        raise WorkspaceError(
            f"{damaged.path} is damaged ({damaged.what}): a purge was interrupted, and nobody knows of what. Delete the"
            " file and give PurgeClips the clips once more, by --clips"
        ) from damaged
    lists = {name: tuple(content[name]) for name in ("clip_ids", "contents", "creators", "copies", "alike")}
    return Job(**lists, sources=tuple(Source(**one) for one in content["sources"]), shards=content["shards"])


def write_job(workspace: str, job: Job) -> None:
    Folder(workspace).write_json(JOB, asdict(job))


def end_job(workspace: str) -> None:
    storage.remove(storage.join(workspace, JOB))
