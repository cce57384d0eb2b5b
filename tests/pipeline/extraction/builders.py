"""Functions that build extractors in processes of tests. Imports little: each owner of the tests imports it."""

import os
import signal
import time
from pathlib import Path

import torch

from models.extractors.extractor import Extractor
from pipeline.core.errors import ProfileError
from tests.support.square_finder import SquareFinder

COUNTS = "VDV_TEST_OWNERS"  # a folder in which each process that builds networks leaves a file


def build(modality: str, device: torch.device) -> Extractor:
    Path(os.environ[COUNTS], str(os.getpid())).touch()
    return SquareFinder(modality)


def build_with_another(modality: str, device: torch.device) -> Extractor:
    """Once a second process has come here, or the first would have all shards before that one has begun."""
    built = build(modality, device)
    while len(os.listdir(os.environ[COUNTS])) < 2:
        time.sleep(0.01)
    return built


def build_in_vain(modality: str, device: torch.device) -> Extractor:
    raise ProfileError(f"no {modality} on {device}")


def build_for_the_last_time(modality: str, device: torch.device) -> Extractor:
    """Of the second process that comes here; the first one builds."""
    try:
        Path(os.environ[COUNTS], "first").touch(exist_ok=False)
    except FileExistsError:
        os.kill(os.getpid(), signal.SIGKILL)
    return SquareFinder(modality)
