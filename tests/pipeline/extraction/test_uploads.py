"""Frames and sound on their way to a device. The way to a GPU is tested where there is one."""

import threading

import numpy as np
import pytest
import torch

from pipeline.decode.pool import Chunk
from pipeline.extraction.uploads import Uploads

with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU to copy frames to")


def chunk(seed: int, uploads: Uploads, shared: np.ndarray) -> Chunk:
    """Random frames as a pool delivers them; taken by another thread, as there."""
    shared[:] = np.random.default_rng(seed).integers(0, 256, shared.shape, dtype=np.uint8)
    taken: list[torch.Tensor] = []
    if uploads.take:
        thread = threading.Thread(target=lambda take: taken.append(take(shared)), args=(uploads.take,))
        thread.start()
        thread.join()
    grid = np.arange(len(shared))
    return Chunk("c", 1, shared, taken[0] if taken else None, grid, grid, grid / 8, 1.0, 64, 48, lambda: None)


def test_networks_on_a_cpu_read_the_shared_memory_itself() -> None:
    uploads, shared = Uploads(torch.device("cpu")), np.zeros((9, 48, 64, 3), np.uint8)
    frames, samples = uploads.frames(chunk(0, uploads, shared)), np.arange(9, dtype=np.int16)
    sound = uploads.sound(samples)
    shared[3] += 1
    samples[3] = 100
    np.testing.assert_array_equal(frames.numpy(), shared)
    np.testing.assert_array_equal(sound.numpy(), samples)


@with_gpu
@pytest.mark.parametrize("late", ["networks", "copies"])
def test_frames_arrive_on_a_gpu_whole_though_their_memory_is_filled_again(late: str) -> None:
    """However late networks read, and copies are made, beside the thread that asks for both."""
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    uploads, shared = Uploads(device), np.zeros((64, 180, 320, 3), np.uint8)
    sums, wanted = [], []
    with torch.cuda.device(device):
        with torch.cuda.stream(uploads._stream if late == "copies" else torch.cuda.current_stream()):
            torch.cuda._sleep(10**9)
        for seed in range(6):
            sums.append(uploads.frames(chunk(seed, uploads, shared)).sum(dtype=torch.int64))
            wanted.append(int(shared.sum(dtype=np.int64)))
        shared[:] = 0
        assert [int(total) for total in sums] == wanted
        np.testing.assert_array_equal(uploads.sound(np.arange(9, dtype=np.int16)).cpu().numpy(), np.arange(9))
