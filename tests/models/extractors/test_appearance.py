import numpy as np
import pytest
import torch

from models.extractors.appearance import AppearanceExtractor
from models.extractors.resnet import Preprocessing
from tests.models.extractors.test_resnet import PUBLISHERS, feature_and_logits, trained

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("float32")


def test_every_frame_gives_the_feature_that_torchvisions_network_passes_to_its_classifier() -> None:
    network = trained("resnet18", 1000, seed=1)
    extractor = AppearanceExtractor(network.state_dict(), device=CPU, batch_size=3, architecture="resnet18")
    frames = torch.randint(0, 256, (3, 260, 300, 3), dtype=torch.uint8)
    frames[1] //= 4
    prepared = extractor.prepare(frames)
    assert prepared.frame == [0, 1, 2]
    assert len(prepared.extras) == 3
    features = extractor.infer(prepared.inputs, prepared.extras)
    assert extractor.feature_size == 512
    for frame, feature in zip(frames, features, strict=True):
        assert feature.shape == (512,)
        assert feature.dtype == np.float16
        want, _ = feature_and_logits(network, PUBLISHERS["appearance"][1](frame.permute(2, 0, 1)))
        np.testing.assert_allclose(feature.astype(np.float32), want.numpy(), atol=1e-4, rtol=1e-3)  # float16: 2^-11


def test_a_small_network_on_small_inputs_goes_the_same_way() -> None:
    extractor = AppearanceExtractor(
        None, device=CPU, batch_size=2, architecture="resnet18", classes=8, preprocessing=Preprocessing(116, 112)
    )
    prepared = extractor.prepare(torch.zeros(1, 90, 160, 3, dtype=torch.uint8))
    assert prepared.inputs.shape == (1, 3, 112, 112)
    assert extractor.infer(prepared.inputs, prepared.extras)[0].shape == (512,)


def test_no_frames_give_no_results() -> None:
    extractor = AppearanceExtractor(None, device=CPU, batch_size=2, architecture="resnet18")
    prepared = extractor.prepare(torch.zeros(0, 90, 160, 3, dtype=torch.uint8))
    assert (len(prepared.inputs), prepared.frame, prepared.extras) == (0, [], [])
    assert extractor.infer(prepared.inputs, prepared.extras) == []
