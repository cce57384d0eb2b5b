import numpy as np
import pytest
import torch

from models.errors import ProfileError, WeightsError
from models.extractors import places365
from models.extractors.scene import SceneExtractor
from tests.models.extractors.test_resnet import PUBLISHERS, feature_and_logits, trained

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("float32")


def test_the_table_holds_the_publishers_365_categories() -> None:
    assert len(places365.CATEGORIES) == len(set(places365.CATEGORIES)) == len(places365.INDOOR) == 365
    assert sum(places365.INDOOR) == 160
    # Lines of the publisher's two files.
    for index, name, indoor in [
        (0, "airfield", False),
        (1, "airplane_cabin", True),
        (63, "bow_window/indoor", True),
        (90, "church/indoor", True),
        (91, "church/outdoor", False),
        (215, "living_room", True),
        (319, "street", False),
        (364, "zen_garden", False),
    ]:
        assert (places365.PUBLISHER_NAMES[index], places365.INDOOR[index]) == (name, indoor)
    assert places365.CATEGORIES[63] == "bow window, indoor"
    # The publisher lists by name; a line lost or moved would show.
    folders = [name.split("/")[0] for name in places365.PUBLISHER_NAMES]
    assert [name[0] for name in folders] == sorted(name[0] for name in folders)


def test_categories_probabilities_and_indoor_mass_equal_those_of_torchvisions_network() -> None:
    network = trained("resnet18", 365, seed=2)
    extractor = SceneExtractor(network.state_dict(), device=CPU, batch_size=4, architecture="resnet18")
    frames = torch.randint(0, 256, (3, 200, 320, 3), dtype=torch.uint8)
    frames[1] //= 4
    frames[2, :100] = 0
    prepared = extractor.prepare(frames)
    assert prepared.frame == [0, 1, 2]
    scenes = extractor.infer(prepared.inputs, prepared.extras)
    for frame, scene in zip(frames, scenes, strict=True):
        feature, logits = feature_and_logits(network, PUBLISHERS["scene"][1](frame.permute(2, 0, 1)))
        probability = logits.softmax(0)
        best = probability.topk(5)
        assert scene.top_category.tolist() == best.indices.tolist()
        assert scene.top_category.dtype == np.int16
        assert scene.top_probability.dtype == np.float32
        np.testing.assert_allclose(scene.top_probability, best.values.numpy(), atol=1e-5)
        np.testing.assert_allclose(scene.feature.astype(np.float32), feature.numpy(), atol=1e-4, rtol=1e-3)
        assert scene.feature.dtype == np.float16
        assert scene.indoor == pytest.approx(probability[torch.tensor(places365.INDOOR)].sum().item(), abs=1e-5)


def test_a_networks_scene_is_known_where_its_answer_is_certain() -> None:
    """A classifier that ignores the picture and is sure of one category says so, and whether it is indoors."""
    names, indoor = [f"scene {index}" for index in range(8)], [True, False] * 4
    state = trained("resnet18", 8, seed=0).state_dict()
    for category in (2, 5):
        state["fc.weight"] = torch.zeros(8, 512)
        state["fc.bias"] = torch.zeros(8).scatter_(0, torch.tensor([category]), 50.0)
        extractor = SceneExtractor(
            state, device=CPU, batch_size=1, architecture="resnet18", categories=names, indoor=indoor
        )
        prepared = extractor.prepare(torch.zeros(1, 50, 50, 3, dtype=torch.uint8))
        scene = extractor.infer(prepared.inputs, prepared.extras)[0]
        assert extractor.categories[scene.top_category[0]] == f"scene {category}"
        assert scene.top_probability[0] == pytest.approx(1)
        assert scene.indoor == pytest.approx(float(indoor[category]))
        # Equal probabilities come in the categories' order.
        assert scene.top_category.tolist()[1:] == [index for index in range(8) if index != category][:4]


def test_categories_that_do_not_go_together_are_refused() -> None:
    for names, indoor in [
        (["a", "b", "c", "d", "e"], [True] * 4),
        (["a", "b", "c", "d"], [True] * 4),
        (["a", "b", "c", "d", "d"], [True] * 5),
    ]:
        with pytest.raises(ProfileError, match="scene categories"):
            SceneExtractor(None, device=CPU, batch_size=1, categories=names, indoor=indoor)


def test_a_classifier_of_another_number_of_categories_is_refused_by_name() -> None:
    state = trained("resnet18", 10, seed=0).state_dict()
    with pytest.raises(WeightsError, match=r"scene network \(resnet18, 365 classes\).*fc\.weight is 10x512, not 365"):
        SceneExtractor(state, device=CPU, batch_size=1, architecture="resnet18")
