"""Frames on their way to a device. The way to a GPU is tested where there is one."""

import threading

import numpy as np
import pytest
import torch

from pipeline.extraction.uploads import Upload, Uploads, on_device

with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU to copy frames to")


def some_frames(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (9, 48, 64, 3), dtype=np.uint8)


def test_networks_on_a_cpu_read_the_shared_memory_itself() -> None:
    frames = some_frames(0)
    given = on_device(frames, torch.device("cpu"))
    frames[3] += 1
    np.testing.assert_array_equal(given.numpy(), frames)


@with_gpu
def test_memory_is_free_when_a_copy_has_begun_and_the_copy_is_whole_when_it_is_read() -> None:
    uploads, shared = Uploads(torch.device("cuda")), np.zeros_like(some_frames(0))
    begun: list[Upload] = []

    def worker() -> None:
        for seed in range(20):
            shared[:] = some_frames(seed)
            begun.append(uploads.begin(shared))

    thread = threading.Thread(target=worker)
    thread.start()
    thread.join()
    shared[:] = 0
    sums = [upload.arrived().sum(dtype=torch.int64) for upload in begun]
    assert [int(total) for total in sums] == [int(some_frames(seed).sum()) for seed in range(20)]


@with_gpu
def test_what_the_owner_copies_arrives() -> None:
    frames = some_frames(1)
    np.testing.assert_array_equal(on_device(frames, torch.device("cuda")).cpu().numpy(), frames)
