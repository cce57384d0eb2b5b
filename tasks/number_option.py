"""Options that are numbers, with a range: Luigi's own end in a traceback where the user only mistyped."""

from typing import Any, Generic, TypeVar

import luigi

from pipeline.core.errors import OptionError

NumberT = TypeVar("NumberT", int, float)


class NumberOption(luigi.Parameter[NumberT], Generic[NumberT]):
    """A number from `minimum` to `maximum`, both included; anything else raises OptionError, which names the option.

    Args:
        kind: int or float.
        rest: what luigi.Parameter takes.
    """

    def __init__(self, kind: type[NumberT], minimum: NumberT, maximum: NumberT, **rest: Any):
        super().__init__(**rest)
        self._kind: type[NumberT] = kind
        self._minimum: NumberT = minimum
        self._maximum: NumberT = maximum

    def parse(self, x: str) -> NumberT:
        try:
            return self._kind(x)
        except ValueError as error:
            raise self._wrong(x) from error

    def normalize(self, x: NumberT) -> NumberT:
        # Of what was parsed, and of what other tasks pass on. `not`, for NaN is in no range.
        if not self._minimum <= x <= self._maximum:
            raise self._wrong(x)
        return x

    def _wrong(self, given: object) -> OptionError:
        option = "--" + self._attribute_name.replace("_", "-")  # Luigi notes it when the task's class is made
        what = "a whole number" if self._kind is int else "a number"
        return OptionError(f"{option} is {given}; it takes {what} from {self._minimum} to {self._maximum}")
