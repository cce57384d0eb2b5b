"""A logger of Lightning's whose service may fail without the training noticing."""

import logging
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

log = logging.getLogger(__name__)


class GuardedLogger(Logger):
    """Passes on what it is given. After the first failure it says so once, and passes on nothing more.

    Args:
        title: of the service, for the warning.
        build: makes the service's logger, when there is something to log.
    """

    def __init__(self, title: str, build: Callable[[], Logger]):
        super().__init__()
        self._title, self._build = title, build
        self._logger: Logger | None = None
        self._failed = False

    @property
    def name(self) -> str:
        return self._title

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        self._pass_on(lambda logger: logger.log_hyperparams(params))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._pass_on(lambda logger: logger.log_metrics(metrics, step))

    def finalize(self, status: str) -> None:
        """Nothing: the next encoder's training logs to the same tracking run."""

    def close(self, status: str) -> None:
        """Have the service keep what it was given. status: success or failed."""
        if self._logger is not None:
            self._pass_on(lambda logger: _close(logger, status))

    def _pass_on(self, call: Callable[[Logger], object]) -> None:
        if self._failed:
            return
        try:
            if self._logger is None:
                self._logger = self._build()
            call(self._logger)
        except Exception as error:  # noqa: BLE001 (each service's package has errors of its own)
            self._failed = True
            words = (str(error) or type(error).__name__).splitlines()[0]
            log.warning(f"{self._title} does not take the training's log ({words}); the training goes on without it")


def _close(logger: Logger, status: str) -> None:
    logger.finalize(status)
    if isinstance(logger, WandbLogger):
        logger.experiment.finish(int(status != "success"))
