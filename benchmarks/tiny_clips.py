"""Small real video files, rendered and encoded here, for tests and benchmarks that need many clips and no people."""

from pathlib import Path

import av
import numpy as np

PROFILE = Path(__file__).parent / "tiny.toml"  # untrained networks that take such clips in a second


def render_clip(path: Path, seed: int, frames: int = 8, fps: int = 8, size: tuple[int, int] = (96, 160)) -> Path:
    """An H.264 file of `frames` frames: a bright square that moves over noise; another for each seed.

    size: width, height in px.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    ground = rng.integers(0, 120, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    colour = rng.integers(140, 256, 3, np.uint8)
    x, y = rng.integers(0, width // 2), rng.integers(0, height // 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            picture = ground.copy()
            left, top = (x + 5 * index) % (width - 24), (y + 3 * index) % (height - 24)
            picture[top : top + 24, left : left + 24] = colour
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_manifest(path: Path, names: list[str], likes: dict[str, int] | None = None) -> Path:
    """A CSV manifest of clips `clips/<name>.mp4` beside it: two challenges in turn, a creator each, invented likes."""
    rows = ["clip_id,uri,challenge,creator_id,likes,split"]
    for place, name in enumerate(names):
        count = (likes or {}).get(name, 10 * (place + 1) ** 2)
        split = "test" if place % 5 == 4 else "train"
        rows.append(f"{name},clips/{name}.mp4,{'ab'[place % 2]},creator{place},{count},{split}")
    path.write_text("\n".join(rows) + "\n")
    return path


def tiny_world(folder: Path, count: int, first: int = 0) -> Path:
    """`count` clips with a manifest, their numbers counted from `first`; returns the manifest's path."""
    names = [f"clip{number:03d}" for number in range(first, first + count)]
    for number, name in enumerate(names, first):
        render_clip(folder / "clips" / f"{name}.mp4", seed=number, frames=6 + number % 5)
    return write_manifest(folder / "tiny.csv", names)
