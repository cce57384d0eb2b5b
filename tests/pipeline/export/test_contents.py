"""What goes along: the modalities whose features are there."""

import shutil
from pathlib import Path

import pytest

from pipeline.core.errors import OptionError
from tests.support.exports import contents_of


def test_a_modality_whose_features_were_removed_is_left_out_and_is_not_asked_to_be_made_again(
    workspace: Path, tmp_path: Path
) -> None:
    without = shutil.copytree(workspace, tmp_path / "workspace")
    shutil.rmtree(without / "features/scene")
    assert contents_of(without).modalities == ("pose",)
    with pytest.raises(OptionError, match="the dataset of the run has pose; its features were removed since"):
        contents_of(without, ("scene",))
