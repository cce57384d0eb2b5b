"""Published weights, fetched once."""

import luigi

from models.weights.catalogue import cache_folder, is_available
from models.weights.fetch import fetch
from pipeline.modalities.registry import load_profile, profile_weights
from tasks.console import say


class FetchWeights(luigi.Task):
    """Downloads and verifies the weights of a profile into the cache; what is there already is not fetched again."""

    profile = luigi.Parameter(default="full", description="full, light, or the path of a TOML file")
    weights_cache = luigi.Parameter(default="", description="folder; default: $VDV_WEIGHTS or the user's cache folder")

    def complete(self) -> bool:
        return all(is_available(name, self.weights_cache or None) for name in self._names())

    def run(self) -> None:
        for name in self._names():
            fetch(name, self.weights_cache or None)
        say(f"weights of the profile {self.profile} are in {cache_folder(self.weights_cache or None)}")

    def _names(self) -> tuple[str, ...]:
        return profile_weights(load_profile(self.profile))
