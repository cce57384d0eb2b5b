"""Records of a clip: what its container states, and how its decoding ended."""

from dataclasses import dataclass, field

from pipeline.core.records import Int64


@dataclass(frozen=True)
class Probe:
    """Description of a clip's container, read without decoding. `code` says why it is unusable; empty: usable."""

    clip_id: str
    content_hash: str = ""  # sha256 of the file's bytes, hex; empty where they could not be read
    size_bytes: Int64 = 0
    container: str = ""  # FFmpeg's short name: mov,mp4,m4a,3gp,3g2,mj2
    codec: str = ""  # FFmpeg's name: h264, hevc, vp9, av1, ...
    width: int = 0  # px, upright and with square pixels
    height: int = 0
    rotation: int = 0  # degrees clockwise that the stored picture must be turned to stand upright: 0, 90, 180, 270
    mirrored: bool = False  # whether its left and right are to be swapped then
    fps: float = 0.0  # average frames a second; 0 where the container does not say
    duration_s: float = 0.0  # stated by the container; 0 where it does not say
    frames: Int64 = 0  # stated by the container; 0 where it does not say
    code: str = ""  # one of errors.CLIP_CODES
    reason: str = ""


@dataclass(frozen=True)
class Ending:
    """Outcome of decoding a clip; one row of `clips/<batch>/endings/`."""

    clip_id: str
    status: str  # ok: to its end; partial: something is missing, see `code`; the rest is used; failed: nothing is used
    code: str  # one of errors.CLIP_CODES; empty for ok
    reason: str
    frames: int = 0  # sampled frames delivered
    expected: int = 0  # sampled frames that the stated duration would give; equals `frames` where it is not stated
    decoder: str = ""  # decord, pyav, or both joined by + where the second went on from the first; empty: failed
    width: int = 0  # px of the upright source frame; 0 where no frame was seen
    height: int = 0
    attempts: int = 1  # 1..
    decode_s: float = 0.0  # worker's time on it, all attempts
    # Of S of the clip's pictures, a few each second; flat ones are left out.
    sketch_ms: tuple[int, ...] = ()  # [S] from the clip's first frame
    sketches: bytes = field(default=b"", metadata={"shape": "S,100", "dtype": "int8"})  # see decode.picture_sketch
