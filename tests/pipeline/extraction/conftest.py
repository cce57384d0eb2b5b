"""Clips to extract, good and bad."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.tiny_clips import render_clip
from tests.pipeline.decode.test_pool import HOSTILE


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small batches on all cores of a busy machine, which also decodes, take four times as long as on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Decoders that do their worst on clips named after it, in the decode workers."""
    monkeypatch.setenv("VDV_TEST_STARTS", str(tmp_path / "starts"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HOSTILE), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five clips of three sizes, from one frame to several chunks of them."""
    folder = tmp_path_factory.mktemp("clips")
    kinds = [(6, (96, 160)), (75, (160, 96)), (1, (128, 128)), (40, (96, 160)), (23, (128, 128))]
    return [
        render_clip(folder / f"clip{place}.mp4", seed=place, frames=frames, fps=10, size=size)
        for place, (frames, size) in enumerate(kinds)
    ]
