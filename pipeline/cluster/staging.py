"""Files of shards between the process that makes them and their place in the workspace.

    <workspace>/attempts/<command>/<number of the process>/features/..., clips/...

A process of a cluster writes into a folder of its own, and the driver, which is one thread at a time for each shard,
moves what it was told is whole. A process that was given up for dead, and is not, can so write whatever it likes
whenever it likes: nobody moves it, and it knows of no other place.
"""

import os
import time
import uuid
from dataclasses import dataclass

from pipeline.core import storage
from pipeline.core.environment import decoder_versions
from pipeline.core.errors import WorkspaceError
from pipeline.core.options import SamplingOptions
from pipeline.features.endings import add_endings, read_endings
from pipeline.features.plan import ATTEMPTS, ShardPlan, endings_folder, features_folder, shard_path

_TOKEN = "driver"  # file by which a machine sees that the folder is the driver's
_KEPT_S = 7 * 86_400  # that a folder of another command is left alone; one that old was killed


@dataclass(frozen=True)
class Staging:
    """The folder of one command."""

    workspace: str
    batch: str
    folder: str

    @classmethod
    def begin(cls, workspace: str, batch: str) -> "Staging":
        """Make the folder; those of commands that were killed long ago are removed."""
        root = storage.join(workspace, ATTEMPTS)
        for command in {path.partition("/")[0] for path in storage.listing(root)}:
            if _begun(command) < time.time() - _KEPT_S:
                storage.remove_folder(storage.join(root, command))
        staging = cls(workspace, batch, storage.join(root, f"{int(time.time())}-{uuid.uuid4().hex[:12]}"))
        storage.write_bytes(storage.join(staging.folder, _TOKEN), staging.folder.encode())
        return staging

    def of_process(self, number: int) -> str:
        """What is the workspace to the process of a number, which is given once."""
        return storage.join(self.folder, str(number))

    def check_reachable(self, machine: str) -> None:
        """Raise WorkspaceError where the folder cannot be seen from here. machine: name of this one."""
        path = storage.join(self.folder, _TOKEN)
        if not storage.exists(path) or storage.read_bytes(path) != self.folder.encode():
            raise unseen(self.workspace, machine)

    def publish(self, plan: ShardPlan, number: int, sampling: SamplingOptions, profile: str) -> None:
        """Move a shard's files, whole in the folder of a process, to their places; its endings last.

        Raises:
            FileNotFoundError: another command, a purge, removed them.
        """
        made_in = self.of_process(number)
        for spec in plan.missing:
            source, target = (features_folder(root, self.batch, spec) for root in (made_in, self.workspace))
            storage.move(shard_path(source, plan.shard), shard_path(target, plan.shard))
        source, target = (
            shard_path(endings_folder(root, self.batch, sampling), plan.shard) for root in (made_in, self.workspace)
        )
        if plan.endings_missing:
            storage.move(source, target)
        else:
            about = {"profile": profile, "decoder": decoder_versions()}
            add_endings(target, read_endings(target), read_endings(source), about)

    def remove(self) -> None:
        storage.remove_folder(self.folder)


def _begun(command: str) -> float:
    """Time at which a command made its folder, of the folder's name; that of a stranger's is now."""
    seconds = command.partition("-")[0]
    return float(seconds) if seconds.isdigit() else time.time()


def absolute(workspace: str) -> str:
    """A workspace by a name that does not depend on the working folder."""
    return os.path.abspath(storage.local_path(workspace)) if storage.is_local(workspace) else workspace


def unseen(workspace: str, machine: str) -> WorkspaceError:
    """The error of a machine that does not see the workspace."""
    return WorkspaceError(
        f"{workspace} cannot be seen from {machine}: with --engine ray the workspace has to be one that all machines of"
        " the cluster reach, a URL (s3://bucket/vdv) or a folder that they share"
    )
