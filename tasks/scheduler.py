"""The choice of Luigi's scheduler: one inside the process, unless a central one is named."""

from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import get_config

_NAMES = ("scheduler_host", "scheduler_port", "scheduler_url")


class core(luigi.interface.core):
    """Luigi's own options.

    Luigi itself looks for a central scheduler unless it is told `local_scheduler`, and once told so in a luigi.cfg it
    passes over any `--scheduler-host`. Here naming a scheduler is asking for it; the command line and the arguments of
    luigi.build count before luigi.cfg.
    """

    @classmethod
    def get_param_values(cls, params: list, args: list, kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
        if "local_scheduler" not in kwargs:
            kwargs = {**kwargs, "local_scheduler": _is_local(kwargs)}
        return super().get_param_values(params, args, kwargs)


def _is_local(arguments: dict[str, Any]) -> bool:
    parser, config = CmdlineParser.get_instance(), get_config()
    typed = {name for name, value in vars(parser.known_args).items() if value} if parser else set()
    if "core_local_scheduler" in typed:
        return True
    if any(name in arguments or f"core_{name}" in typed for name in _NAMES):
        return False
    if (stated := config.get("core", "local_scheduler", None)) is not None:
        return luigi.BoolParameter().parse(stated)
    old_names = (f"default-{name.replace('_', '-')}" for name in _NAMES)
    return not any(config.get("core", name, None) for name in (*_NAMES, *old_names))
