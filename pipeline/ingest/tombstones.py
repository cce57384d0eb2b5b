"""Tombstones of purged clips: hashes of their ids and of their files' contents, by which ingest refuses them.

tombstones.json    in the workspace: {salt, clips: [hash], contents: [hash]}, both sorted

Each hash is keyed with a salt that no other workspace has, and nothing says which id and which content belong together,
whose they were, or when they went. Who has the workspace can still ask whether a certain id or file was purged, which
is what ingest has to ask.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.core.errors import DamagedFile, WorkspaceError
from pipeline.core.locks import exclusive
from pipeline.decode.clips import Probe
from pipeline.files.folder import Folder
from pipeline.ingest.signatures import file_signature

TOMBSTONES = "tombstones.json"
JOB = "purge.json"  # in the workspace while a purge is under way (pipeline.purge.job)
PURGED = "purged"  # of errors.CLIP_CODES


@dataclass(frozen=True)
class Tombstones:
    """Hashes, 32 hex, of the ids and of the contents of purged clips."""

    salt: str = ""  # 64 hex; empty: nothing was ever purged
    clips: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    def has_clip(self, clip_id: str) -> bool:
        return bool(self.clips) and self.hash_of("clip", clip_id) in self.clips

    def has_content(self, content_hash: str) -> bool:
        """content_hash: sha256, hex; empty, of a file that could not be read, is none."""
        return bool(self.contents and content_hash) and self.hash_of("content", content_hash) in self.contents

    def hash_of(self, kind: str, text: str) -> str:
        """kind: clip, content."""
        key = bytes.fromhex(self.salt)
        return hashlib.blake2b(text.encode(), key=key, person=kind.encode(), digest_size=16).hexdigest()


NO_TOMBSTONES = Tombstones()


def read_tombstones(workspace: str) -> Tombstones:
    """The workspace's tombstones; none where nothing was purged.

    Raises:
        WorkspaceError: the file is damaged. It is not removed like others: no command could make it again, and purged
            clips would come back.
    """
    try:
        content = Folder(workspace).read_json(TOMBSTONES)
    except FileNotFoundError:
        return NO_TOMBSTONES
    except DamagedFile as damaged:
        raise WorkspaceError(
            f"{damaged.path} is damaged ({damaged.what}); it keeps purged clips from coming back, so nothing is built"
            " without it. Put a copy of it there; without one, delete it and purge those clips again with PurgeClips"
        ) from damaged
    return Tombstones(content["salt"], frozenset(content["clips"]), frozenset(content["contents"]))


def add_tombstones(workspace: str, clip_ids: Iterable[str], contents: Iterable[str]) -> None:
    """Refuse these clips from now on. contents: sha256, hex, of files."""
    with exclusive(workspace, TOMBSTONES):
        before = read_tombstones(workspace)
        stones = replace(before, salt=before.salt or secrets.token_hex(32))
        clips = stones.clips | {stones.hash_of("clip", clip_id) for clip_id in clip_ids}
        files = stones.contents | {stones.hash_of("content", content) for content in contents if content}
        content = {"salt": stones.salt, "clips": sorted(clips), "contents": sorted(files)}
        if (clips, files) != (before.clips, before.contents):
            Folder(workspace).write_json(TOMBSTONES, content)


def purge_signature(workspace: str) -> str:
    """The same as before where no clip was purged since; empty while a purge is under way.

    Raises:
        WorkspaceError: the filesystem does not answer.
    """
    folder = Folder(workspace)
    return "" if folder.has(JOB) else file_signature(folder.file(TOMBSTONES))


def refused(probe: Probe, tombstones: Tombstones) -> Probe:
    """The probe; of a file that was purged one that says so, and nothing of the file."""
    if not tombstones.has_content(probe.content_hash):
        return probe
    return Probe(probe.clip_id, code=PURGED, reason="its file, byte for byte, was purged from this workspace")
