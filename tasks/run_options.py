"""Options that name runs. They are called `--run`: argparse takes the beginning of an option for the whole of it.

No option can be `run` itself, for what a task does is its method `run`.
"""

from typing import Any

import luigi

RUN_HELP = "id or name of a run; --run for short"


class RunsOption(luigi.Parameter[tuple[str, ...]]):
    """Several runs: `--run A --run B`, or `--run A,B`."""

    def parse(self, x: Any) -> tuple[str, ...]:
        given = [x] if isinstance(x, str) else x  # a text from luigi.cfg, a list from the command line
        return tuple(name.strip() for text in given for name in text.split(",") if name.strip())

    def serialize(self, x: tuple[str, ...]) -> str:
        return ",".join(x)

    @classmethod
    def _parser_kwargs(cls, param_name: str, task_name: str | None = None) -> dict[str, Any]:
        # What luigi.BoolParameter overrides, too: of an option given twice Luigi else keeps the second.
        return super()._parser_kwargs(param_name, task_name) | {"action": "append"}
