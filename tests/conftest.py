"""What every test may use. Real clips lie beside the checkout; without them, tests that need them skip and say so."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the real clips of ../shared/{name}, which is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def dance_clips() -> Path:
    """Folder of eight real dance clips (with dance.csv one level up)."""
    return _folder("clips/dance")


@pytest.fixture(scope="session")
def hard_clips() -> Path:
    """Folder of hard inputs: damaged, rotated, variable frame rate, empty, ..."""
    return _folder("clips/hard")
