"""The features that a profile and a choice of modalities make. Imports nothing heavy, for planning needs it."""

from dataclasses import dataclass

from models.weights.profiles import Profile
from pipeline.core.errors import ProfileError
from pipeline.core.options import SamplingOptions
from pipeline.features.plan import FeatureSpec, feature_spec
from pipeline.modalities.registry import extracted_names, modality_identity, modality_names, sources_of, with_derived


@dataclass(frozen=True)
class Features:
    """A profile and the modalities chosen from it."""

    profile: Profile
    sampling: SamplingOptions
    specs: tuple[FeatureSpec, ...]  # one a chosen modality, in the order of extracted_names()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those chosen, and those that are derived from them, in order."""
        return with_derived([spec.modality for spec in self.specs])

    @classmethod
    def of(cls, profile: Profile, modalities: str) -> "Features":
        """modalities: comma-separated.

        Raises:
            ProfileError: one that does not exist, or none; or a derived one without those that it is derived from.
        """
        chosen = {name.strip() for name in modalities.split(",") if name.strip()}
        if not chosen or not chosen <= set(modality_names()):
            raise ProfileError(f"--modalities {modalities!r}: choose from {', '.join(modality_names())}")
        if lacking := chosen - set(with_derived(chosen & set(extracted_names()))):
            (name, *_) = sorted(lacking)
            raise ProfileError(
                f"--modalities {modalities!r}: {name} is derived from {' and '.join(sources_of(name))}; name"
                " these as well"
            )
        sampling = SamplingOptions(**profile.sampling)
        specs = (
            feature_spec(name, sampling, profile.entry(name).stride, modality_identity(name, profile))
            for name in extracted_names()
            if name in chosen
        )
        return cls(profile, sampling, tuple(specs))
