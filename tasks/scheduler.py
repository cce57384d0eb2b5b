"""The choice of Luigi's scheduler: one inside the process, unless a central one is named."""

import logging
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

    Where logging is configured counts in these two alone: Python evaluates what such a file holds, and a luigi.cfg is
    read from the folder that the command is started in, which may hold what others uploaded.
    """

    @classmethod
    def get_param_values(cls, params: list, args: list, kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
        if "local_scheduler" not in kwargs:
            kwargs = {**kwargs, "local_scheduler": _is_local(kwargs)}
        if "logging_conf_file" not in kwargs and "core_logging_conf_file" not in _typed():
            if get_config().get("core", "logging_conf_file", ""):
                logging.getLogger("luigi-interface").warning(
                    "vdv: logging_conf_file in luigi.cfg is passed over, for what it names can run code; if it is "
                    "yours, give --logging-conf-file"
                )
            kwargs = {**kwargs, "logging_conf_file": ""}
        return super().get_param_values(params, args, kwargs)


def _typed() -> set[str]:
    """Names of the options that the command line gives, each after its task's name."""
    parser = CmdlineParser.get_instance()
    return {name for name, value in vars(parser.known_args).items() if value} if parser else set()


def _is_local(arguments: dict[str, Any]) -> bool:
    typed, config = _typed(), get_config()
    if "core_local_scheduler" in typed:
        return True
    if any(name in arguments or f"core_{name}" in typed for name in _NAMES):
        return False
    if (stated := config.get("core", "local_scheduler", None)) is not None:
        return luigi.BoolParameter().parse(stated)
    old_names = (f"default-{name.replace('_', '-')}" for name in _NAMES)
    return not any(config.get("core", name, None) for name in (*_NAMES, *old_names))
