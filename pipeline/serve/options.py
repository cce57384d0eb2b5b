"""Options of the service. Imports nothing heavy: --help answers at once."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.device import check_device_name
from pipeline.core.errors import OptionError

TOKEN = "VDV_SERVE_TOKEN"  # environment variable: an option would be shown by ps
LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServeOptions:
    """Options of one service; the parser has their defaults."""

    workspace: str
    run: str
    profile: str
    device: str
    level: float
    weights_cache: str
    host: str
    port: int
    queue: int
    max_mb: int
    body_s: float
    answer_s: float
    deadline_s: float
    memory_limit_mb: int
    decode_workers: int
    allow_uri: tuple[str, ...]
    token: str = ""

    @property
    def max_bytes(self) -> int:
        return self.max_mb * 2**20

    @property
    def workers(self) -> int:
        return self.decode_workers or len(os.sched_getaffinity(0))


def parse_options(words: Sequence[str] | None, environment: Mapping[str, str]) -> ServeOptions:
    """Options of a command line and of the environment. Ends the process on --help, raises OptionError."""
    given = vars(parser().parse_args(words))
    options = ServeOptions(**given | {"allow_uri": tuple(given["allow_uri"])}, token=environment.get(TOKEN, ""))
    check_device_name(options.device)
    ranges: dict[str, tuple[float, float]] = {
        "port": (0, 65535), "queue": (1, 10_000), "max_mb": (1, 2**20), "body_s": (0.1, 86_400),
        "answer_s": (0.1, 86_400), "deadline_s": (0.1, 86_400), "memory_limit_mb": (1, 2**20),
        "decode_workers": (0, 1024), "level": (0, 0.999),
    }  # fmt: skip
    for name, (least, most) in ranges.items():
        if not least <= getattr(options, name) <= most:  # NaN is in no range
            raise OptionError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}; it takes a number from {least} to {most}"
            )
    if not options.token.isascii() or any(map(str.isspace, options.token)):
        raise OptionError(f"{TOKEN} holds blanks, or characters beyond ASCII, which no header can send")
    return options


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m pipeline.serve", description="Scores clips over HTTP by a finished run.")
    add = made.add_argument
    add("--run", required=True, help="id or name of a run")
    add("--workspace", default="workspace", help="folder or fsspec URL that holds the run (default: %(default)s)")
    add("--profile", default="", help="TOML file of the run's profile, where it is one of yours")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--level", type=float, default=0.0, help="share of clips that the intervals are to hold; 0: the run's")
    add("--weights-cache", default="", help="folder of downloaded weights; default: $VDV_WEIGHTS or user cache")
    add("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine alone)")
    add("--port", type=int, default=8000, help="0: a free one (default: %(default)s)")
    add("--queue", type=int, default=64, help="clips that wait or are worked on, at most (default: %(default)s)")
    add("--max-mb", type=int, default=64, help="size of a clip, uploaded or fetched (default: %(default)s)")
    add("--body-s", type=float, default=60.0, help="seconds for a request's body to arrive (default: %(default)s)")
    add("--answer-s", type=float, default=120.0, help="seconds from then to the answer (default: %(default)s)")
    add("--deadline-s", type=float, default=60.0, help="seconds of decoding one clip (default: %(default)s)")
    add("--memory-limit-mb", type=int, default=4096, help="memory for decoding one clip (default: %(default)s)")
    add("--decode-workers", type=int, default=0, help="decode processes; 0: one a processor core")
    add(
        "--allow-uri", action="append", default=[], metavar="PATTERN",
        help="uris that clients may have read, * is any text; may be given several times (default: none)",
    )  # fmt: skip
    return made
