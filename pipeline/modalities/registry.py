"""The list of all modalities, and their parts of a profile. Imports torch only to build an extractor."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ProfileError
from models.weights import catalogue
from models.weights.profiles import Profile, read_profile
from pipeline.modalities.appearance import APPEARANCE
from pipeline.modalities.audio import AUDIO
from pipeline.modalities.face import FACE
from pipeline.modalities.pose import POSE
from pipeline.modalities.record import DerivedModality, ExtractedModality, Modality
from pipeline.modalities.scene import SCENE
from pipeline.modalities.synchrony import SYNCHRONY

if TYPE_CHECKING:
    import torch

    from models.extractors.extractor import Extractor

MODALITIES: tuple[Modality, ...] = (
    POSE,
    APPEARANCE,
    FACE,
    SCENE,
    AUDIO,
    SYNCHRONY,
)  # in the order of every [B, M] tensor


def modality_names() -> tuple[str, ...]:
    """Names of all modalities, in order."""
    return tuple(modality.name for modality in MODALITIES)


def extracted_modalities() -> tuple[ExtractedModality, ...]:
    """The modalities that are extracted from clips, in order."""
    return tuple(modality for modality in MODALITIES if isinstance(modality, ExtractedModality))


def extracted_names() -> tuple[str, ...]:
    """Names of the modalities that are extracted from clips, in order."""
    return tuple(modality.name for modality in extracted_modalities())


def derived_modalities(extracted: Collection[str]) -> tuple[DerivedModality, ...]:
    """The derived modalities whose sources are all among these, in order."""
    return tuple(
        modality
        for modality in MODALITIES
        if isinstance(modality, DerivedModality) and set(modality.sources) <= set(extracted)
    )


def with_derived(extracted: Collection[str]) -> tuple[str, ...]:
    """Names of these extracted modalities, and of those that are derived from them behind."""
    return (*extracted, *(modality.name for modality in derived_modalities(extracted)))


def find_modality(name: str) -> Modality:
    """The modality with that name.

    Raises:
        ProfileError: there is none.
    """
    for modality in MODALITIES:
        if modality.name == name:
            return modality
    raise ProfileError(f"modality {name!r} does not exist; use one of {', '.join(modality_names())}")


def sources_of(name: str) -> tuple[str, ...]:
    """Names of the extracted modalities that one is made of; of an extracted one, its own.

    Raises:
        ProfileError: there is no such modality.
    """
    modality = find_modality(name)
    return modality.sources if isinstance(modality, DerivedModality) else (name,)


def find_extracted(name: str) -> ExtractedModality:
    """The extracted modality with that name.

    Raises:
        ProfileError: there is none.
    """
    modality = find_modality(name)
    if not isinstance(modality, ExtractedModality):
        raise ProfileError(f"modality {name!r} is derived from others, and is not extracted")
    return modality


def load_profile(name_or_path: str | Path) -> Profile:
    """The profile with that name, or of that TOML file, with a table for every extracted modality.

    Raises:
        ProfileError: as models.weights.profiles.read_profile.
    """
    return read_profile(name_or_path, {modality.name: modality.entry for modality in extracted_modalities()})


def modality_identity(name: str, profile: Profile) -> dict[str, Any]:
    """Everything but the pixels that determines a modality's features; needs no network and no download.

    Raises:
        ProfileError: there is no such modality.
        WeightsError: a weight file does not exist.
    """
    version, entry = find_extracted(name).version, profile.entry(name)
    weights = {key: catalogue.identity(value) for key, value in entry.all_weights().items()}
    return {"extractor_version": version, **entry.identity(), **weights}


def profile_weights(profile: Profile) -> tuple[str, ...]:
    """The weights that a profile names, each once, for FetchWeights."""
    return tuple(dict.fromkeys(name for entry in profile.entries.values() for name in entry.all_weights().values()))


def is_trained(profile: Profile) -> dict[str, bool]:
    """Whether each modality's weights are trained: False for random ones."""
    return {name: catalogue.is_trained(entry.weights) for name, entry in profile.entries.items()}


def build_extractor(
    name: str, profile: Profile, device: "torch.device", cache: str | Path | None = None
) -> "Extractor":
    """The extractor of a modality with its weights loaded, on `device`.

    Args:
        cache: folder of downloaded weights, see `catalogue.cache_folder`.

    Raises:
        ProfileError: there is no such modality, or an option does not suit its network.
        WeightsError: the weights are missing, do not verify, or do not fit the architecture.
    """
    from models.weights.checkpoints import load_state_dict

    modality, entry = find_extracted(name), profile.entry(name)
    weights = catalogue.resolve(entry.weights, cache, profile=profile.name)
    state = load_state_dict(weights.path) if weights.path else None
    batch_size = entry.batch_size.cuda if device.type == "cuda" else entry.batch_size.cpu
    return modality.build_extractor(entry, state, device=device, batch_size=batch_size, seed=weights.seed)
