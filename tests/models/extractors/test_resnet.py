import functools
from pathlib import Path

import pytest
import torch
import torchvision
from torchvision import transforms
from torchvision.models import ResNet50_Weights

from models.errors import ProfileError, WeightsError
from models.extractors.appearance import APPEARANCE_PREPROCESSING
from models.extractors.resnet import ARCHITECTURES, Preprocessing, ResNet, new_trunk, normalised, square_crops
from models.extractors.scene import SCENE_PREPROCESSING
from tests.support.real_frames import sampled

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("float32")
SIZES = ["mmdeploy_dance", "animatex_dance_1", "mmhuman3d_single"]  # 640x368, 512x758, 1080x1920


@functools.lru_cache
def trained(architecture: str, classes: int, seed: int) -> torchvision.models.ResNet:
    """A torchvision network with random weights whose BatchNorm has seen pictures, so that outputs depend on them."""
    torch.manual_seed(seed)
    network = getattr(torchvision.models, architecture)(weights=None, num_classes=classes)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics of all that it has seen
    with torch.no_grad():
        network.train()(torch.nn.functional.interpolate(torch.randn(8, 3, 14, 14), scale_factor=8))
    return network.eval()


def feature_and_logits(network: torchvision.models.ResNet, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """torchvision's own network on one normalised picture; the feature is what goes into its classifier."""
    seen = []
    hook = network.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        logits = network(picture[None])
    hook.remove()
    return seen[0][0], logits[0]


PUBLISHERS = {
    "appearance": (APPEARANCE_PREPROCESSING, ResNet50_Weights.IMAGENET1K_V2.transforms()),
    "scene": (
        SCENE_PREPROCESSING,
        transforms.Compose(
            [
                transforms.Resize((256, 256)),
                transforms.CenterCrop(224),
                transforms.ConvertImageDtype(torch.float32),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        ),
    ),
}


@pytest.fixture(scope="module")
def published(float32: None) -> tuple[torchvision.models.ResNet, ResNet]:
    """torchvision's network, and ours with its weights."""
    network = trained("resnet50", 40, seed=3)
    return network, ResNet("resnet50", network.state_dict(), name="network", classes=40, device=CPU, batch_size=3)


@pytest.mark.parametrize("clip", SIZES)
@pytest.mark.parametrize("modality", sorted(PUBLISHERS))
def test_features_and_logits_equal_the_publishers_transforms_and_network_frame_by_frame(
    dance_clips: Path, published: tuple[torchvision.models.ResNet, ResNet], clip: str, modality: str
) -> None:
    preprocessing, publisher = PUBLISHERS[modality]
    frames = sampled(dance_clips / f"{clip}.mp4", 2)
    network, ours = published
    feature, logits = ours(square_crops(frames, preprocessing))
    for index, frame in enumerate(frames):
        want_feature, want_logits = feature_and_logits(network, publisher(frame.permute(2, 0, 1)))
        torch.testing.assert_close(feature[index], want_feature, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits[index], want_logits, atol=1e-4, rtol=1e-4)
    assert (feature[0] - feature[1]).abs().max() > 0.01, "the network must tell the frames apart for this to mean much"


def test_a_frames_crop_does_not_depend_on_how_many_frames_are_resized_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.randint(0, 256, (5, 300, 200, 3), dtype=torch.uint8)
    together = square_crops(frames, APPEARANCE_PREPROCESSING)
    monkeypatch.setattr("models.extractors.resnet._PIXELS_AT_ONCE", 1)
    assert torch.equal(square_crops(frames, APPEARANCE_PREPROCESSING), together)
    assert torch.equal(square_crops(frames[3:4], APPEARANCE_PREPROCESSING), together[3:4])


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (224, 224)])
def test_frames_of_any_size_give_inputs_of_one_shape(size: tuple[int, int]) -> None:
    frames = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    for preprocessing in (APPEARANCE_PREPROCESSING, SCENE_PREPROCESSING):
        crops = square_crops(frames, preprocessing)
        assert crops.shape == (2, 3, 224, 224)
        assert crops.dtype == torch.uint8


def test_a_frame_of_one_pixels_height_costs_no_more_than_another() -> None:
    frames = torch.zeros(1, 1, 1280, 3, dtype=torch.uint8)
    frames[:, :, 636:644] = 200
    with torch.profiler.profile(profile_memory=True) as profile:
        crops = square_crops(frames, APPEARANCE_PREPROCESSING)
    assert max(event.cpu_memory_usage for event in profile.key_averages()) < 64 << 20
    assert (crops == 200).all(), "the frame's centre is what is looked at"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_results_do_not_depend_on_what_shares_the_batch(architecture: str) -> None:
    network = ResNet(architecture, None, name="network", classes=10, device=CPU, batch_size=4)
    inputs = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    full = network(inputs)
    for got, want in zip(network(inputs[2:3]), full, strict=True):
        assert torch.equal(got[0], want[2])
    for got, want in zip(network(inputs.flip(0)), full, strict=True):
        assert torch.equal(got.flip(0), want)
    assert full[0].shape == (4, network.feature_size)
    assert full[1].shape == (4, 10)


def test_random_weights_come_from_the_seed_alone() -> None:
    inputs = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)

    def feature(seed: int, outside: int) -> torch.Tensor:
        torch.manual_seed(outside)
        return ResNet("resnet10-w32", None, name="n", classes=5, device=CPU, batch_size=1, seed=seed)(inputs)[0]

    assert torch.equal(feature(1, outside=8), feature(1, outside=9))
    assert not torch.equal(feature(1, outside=8), feature(2, outside=8))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    ResNet("resnet18", None, name="n", classes=5, device=CPU, batch_size=1)
    assert torch.equal(torch.rand(1), expected), "drawing weights must leave the caller's random numbers alone"


def test_weights_that_do_not_fit_are_named() -> None:
    state = trained("resnet18", 6, seed=0).state_dict()

    def error(changed: dict) -> str:
        with pytest.raises(WeightsError) as caught:
            ResNet("resnet18", changed, name="scene network", classes=6, device=CPU, batch_size=1)
        return str(caught.value)

    assert "scene network (resnet18, 6 classes)" in error({})
    assert "missing: conv1.weight" in error({key: value for key, value in state.items() if key != "conv1.weight"})
    assert "unknown: extra" in error({**state, "extra": torch.zeros(1)})
    assert "fc.bias is 7, not 6" in error({**state, "fc.bias": torch.zeros(7)})


def test_a_checkpoint_written_from_data_parallel_of_before_2018_loads() -> None:
    network = trained("resnet18", 6, seed=0)
    old = {f"module.{key}": value for key, value in network.state_dict().items() if "num_batches" not in key}
    inputs = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    got, want = (
        ResNet("resnet18", state, name="n", classes=6, device=CPU, batch_size=1)(inputs)
        for state in (old, network.state_dict())
    )
    assert torch.equal(got[1], want[1])


def test_what_cannot_be_built_is_refused_with_the_choices() -> None:
    with pytest.raises(ProfileError, match="resnet18, resnet34, resnet50"):
        ResNet("resnet51", None, name="n", classes=5, device=CPU, batch_size=1)
    with pytest.raises(ProfileError, match="batch_size is 0"):
        ResNet("resnet18", None, name="n", classes=5, device=CPU, batch_size=0)
    with pytest.raises(ProfileError, match="224 px cannot be cut"):
        Preprocessing(resize=200)
    with pytest.raises(ValueError, match="3 inputs do not fit a batch of 2"):
        ResNet("resnet18", None, name="n", classes=5, device=CPU, batch_size=2)(
            torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
        )


def test_the_narrow_resnet_is_small_and_its_feature_goes_into_its_classifier() -> None:
    network = ResNet("resnet10-w32", None, name="scene network", classes=8, device=CPU, batch_size=2, seed=1)
    assert network.feature_size == 256
    trunk = new_trunk("resnet10-w32", 8, seed=1)
    assert 1.1e6 < sum(parameter.numel() for parameter in trunk.parameters()) < 1.4e6
    pictures = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    feature, logits = network(pictures)
    assert isinstance(trunk.fc, torch.nn.Module)
    with torch.inference_mode():
        torch.testing.assert_close(trunk.eval()(normalised(pictures)), logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(trunk.fc(feature), logits, atol=1e-5, rtol=1e-5)
    assert not torch.equal(logits[0], logits[1])
