"""What a pool's caller makes of chunks beside the thread that consumes them."""

import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.decode.pool import Chunk, DecodeJob, DecodePool
from tests.pipeline.decode.test_decoders import write_clip
from tests.pipeline.decode.test_pool import LIMITS, SAMPLING, workers_of


def test_what_is_taken_of_frames_is_made_beside_the_consumer_and_comes_with_their_chunk(tmp_path: Path) -> None:
    clip, threads = write_clip(tmp_path / "clip.mp4", frames=50), set()

    def take(frames: np.ndarray) -> np.ndarray:
        threads.add(threading.get_ident())
        return frames[:, ::-1].copy()

    with DecodePool(SAMPLING, LIMITS, 1, take) as pool:
        for event in pool.run([DecodeJob("c", str(clip), (1,))]):
            if isinstance(event, Chunk):
                np.testing.assert_array_equal(event.taken, event.frames[:, ::-1])
                event.release()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_an_error_in_taking_frames_reaches_the_caller_and_leaves_no_worker(tmp_path: Path) -> None:
    def take(frames: np.ndarray) -> None:
        raise MemoryError(f"no room for {frames.nbytes} bytes")

    clip = write_clip(tmp_path / "clip.mp4", frames=5)
    with pytest.raises(MemoryError, match="no room for"), DecodePool(SAMPLING, LIMITS, 1, take) as pool:
        list(pool.run([DecodeJob("c", str(clip), (1,))]))
    assert not workers_of()
