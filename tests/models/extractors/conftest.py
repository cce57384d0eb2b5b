from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def float32() -> Iterator[None]:
    """Networks are compiled in float32: what a module compares digit by digit, bfloat16 would hide."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.extractors.compiled.computes_bfloat16", lambda: False)
        yield
