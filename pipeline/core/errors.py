"""Every error that a user may meet, each with a code that also appears in `clips/`, in the report and in the docs."""

import shlex
from dataclasses import dataclass

from models.errors import OptionError, ProfileError, VdvError, WeightsError

__all__ = [
    "CLIP_CODES", "SOUND_CODES", "ClipCode", "ClipError", "CommandFailed", "DamagedFile", "DataError", "ManifestError",
    "OptionError", "ProfileError", "TooManyFailed", "VdvError", "WeightsError", "WorkspaceError", "how_to_install",
]  # fmt: skip


class ManifestError(VdvError):
    """A manifest that breaks its format; the message lists every problem found, one a line."""

    code = "manifest"


class WorkspaceError(VdvError):
    """A workspace that cannot be read or written, or holds a file that is not what its name says."""

    code = "workspace"


class DamagedFile(WorkspaceError):
    """A file of a workspace that is not as it was written. Tasks that make such files make it again."""

    def __init__(self, path: str, what: str):
        super().__init__(f"{path} is damaged ({what}); delete it and run the command that made it again")
        self.path = path
        self.what = what

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.path, self.what)  # it may come out of a process of a pool


class DataError(VdvError):
    """Clips from which nothing can be learned or scored (no labels, one clip per challenge, ...)."""

    code = "data"


class TooManyFailed(VdvError):
    """More clips failed than `max_failed` allows."""

    code = "too_many_failed"


class CommandFailed(VdvError):
    """A command that a program started and that ended by none of these errors: killed, interrupted, or by a defect."""

    code = "command"


@dataclass(frozen=True)
class ClipCode:
    """Meaning of a clip's ending code; `retryable`: another try may end otherwise."""

    retryable: bool
    meaning: str


# The codes of clips that ended `failed` or `partial`. docs/clip-endings.md lists them for users; a test compares.
CLIP_CODES = {
    "missing": ClipCode(True, "no file at the clip's uri"),
    "io": ClipCode(True, "the file could not be fetched or read"),
    "not_allowed": ClipCode(False, "the uri names, or leads to, what is not read without --allow-uri"),
    "oversized": ClipCode(False, "the file is larger than what is fetched of one clip"),
    "changed": ClipCode(True, "the file is not the one that was described, or was written to while it was read"),
    "empty": ClipCode(False, "the file holds 0 bytes"),
    "not_a_video": ClipCode(False, "no decoder recognises the file, or it was cut off before its index"),
    "no_video_stream": ClipCode(False, "the file holds no video stream (sound only)"),
    "no_frames": ClipCode(False, "the file has a video stream, but not one frame of it decodes"),
    "corrupt": ClipCode(False, "decoding stopped at damaged data; the frames before it are used"),
    "truncated": ClipCode(False, "the file ends before its stated duration; the frames there are used"),
    "unsupported": ClipCode(False, "the pictures are stored in a way that cannot be shown as they are meant"),
    "incomplete": ClipCode(False, "pictures are missing midway, or timestamps contradict each other; the rest is used"),
    "too_large": ClipCode(False, "one frame is larger than the decoder's limit"),
    "too_many_tracks": ClipCode(False, "the file holds more tracks than are opened"),
    "memory": ClipCode(True, "decoding went over the worker's memory limit"),
    "deadline": ClipCode(True, "fetching and decoding took longer than the deadline; the worker was killed"),
    "crash": ClipCode(True, "the decoder crashed its worker process"),
    "killed_extraction": ClipCode(True, "the processes that ran the networks on the clip were killed, time and again"),
    "purged": ClipCode(False, "the clip, or the same file, was purged from this workspace"),
}


# Why a clip that was decoded has no rows in a modality that reads sound.
SOUND_CODES = {
    "no_sound": "the file has no audio stream",
    "silent": "the file has an audio stream, and nothing is to be heard in it while there are pictures",
    "undecodable": "the file has an audio stream that cannot be decoded",
}


class ClipError(VdvError):
    """One clip's failure. It becomes a row in `clips/`; it never ends a batch."""

    def __init__(self, code: str, reason: str):
        super().__init__(reason)
        if code not in CLIP_CODES:
            raise ValueError(f"{code!r} is not one of the clip codes {sorted(CLIP_CODES)}")
        self.code = code
        self.reason = reason

    @property
    def retryable(self) -> bool:
        return CLIP_CODES[self.code].retryable


def how_to_install(extra: str) -> str:
    """What to type for one of vdv's extras: its packages, which pip finds for a checkout and an installed vdv alike."""
    from importlib.metadata import requires  # here, as the other: a decode worker needs neither

    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in requires("vdv") or ()]
    named = [
        one for one in wanted
        if one.marker and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""})
    ]  # fmt: skip
    packages = shlex.join(f"{one.name}{one.specifier}" for one in named)
    return f"pip install {packages} (in vdv's checkout with -c constraints.txt)"
