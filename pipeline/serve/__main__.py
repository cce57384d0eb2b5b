"""Main program of the service: `python -m pipeline.serve --run june --workspace workspace`. docs/serve.md says more."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing

from models.device import resolve_device
from pipeline.core import storage
from pipeline.core.environment import require_packages
from pipeline.core.errors import VdvError
from pipeline.core.import_path import leave_out_working_folder
from pipeline.runs.purged import purged_text, warn_if_purged
from pipeline.runs.run import Run
from pipeline.runs.runs import find_run
from pipeline.scoring.run_features import run_features, run_profile
from pipeline.serve.options import LOCAL_HOSTS, TOKEN, ServeOptions, parse_options

log = logging.getLogger("pipeline.serve")

WRONG_OPTIONS = 35  # exit code, as of the tasks: nothing was started
FAILED = 1

_PACKAGES = ("fastapi", "uvicorn", "python_multipart")


def main(words: list[str] | None = None, started: Callable[[str], None] = lambda address: None) -> int:
    """Serve until SIGTERM; the exit code.

    Args:
        words: the command line's.
        started: called with the address, once requests are answered there.
    """
    leave_out_working_folder()  # it may hold uploads; most is imported below
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        options = parse_options(words, os.environ)
        os.environ.pop(TOKEN, None)  # no process that decodes has to know it
        return serve(options, started)
    except VdvError as error:
        print(f"vdv: {error}", file=sys.stderr)
        return WRONG_OPTIONS


def serve(options: ServeOptions, started: Callable[[str], None]) -> int:
    """Raises VdvError: nothing is served."""
    require_packages("serve", *_PACKAGES)
    run_folder = Run.of(options.workspace, find_run(options.workspace, options.run))
    features = run_features(run_folder, options.run, run_profile(run_folder, options.run, options.profile))
    # Seconds of imports: not before what is wrong has been said.
    from pipeline.runs.train import warn_if_untrained
    from pipeline.serve.answers import RunFacts
    from pipeline.serve.app import Service, make_app
    from pipeline.serve.fetches import Fetches
    from pipeline.serve.scorer import Scorer, decode_limits
    from pipeline.serve.server import Server

    server = Server(options.host, options.port, options.body_s + 2 * options.answer_s)
    if options.host not in LOCAL_HOSTS and not options.token:
        log.warning(f"anybody who reaches {server.address} may have clips scored: {TOKEN} is not set")
    with ExitStack() as stack:
        scratch = stack.enter_context(storage.temporary_folder())
        device = resolve_device(options.device)
        scorer = Scorer(options, run_folder, features, device, scratch, server.fail)
        stack.enter_context(closing(scorer))
        fetches = stack.enter_context(closing(Fetches(decode_limits(options), options.queue)))
        scorer.warm_up(scratch)
        about = scorer.judge.about
        warn_if_untrained(about)
        warn_if_purged(run_folder)
        level = options.level or about["interval_level"]
        facts = RunFacts(run_folder.id, level, tuple(about["untrained"]), purged_text(run_folder))
        app = make_app(Service(scorer, fetches, facts, options, scratch), options)
        # What a service that was killed has left is removed at once, but for what is less than a minute old.
        later = threading.Timer(storage.FRESH_S + 1, storage.remove_stale_folders)
        later.daemon = True
        later.start()
        stack.callback(later.cancel)
        log.info(f"serving run {run_folder.id} ({features.profile.name}, {device}) at {server.address}")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _pass_over)  # uvicorn heeds them, and raises them anew when it has ended
        started(server.address)
        stopped = server.serve_until_stopped(app)
        log.info("all that was taken is answered; stopping")
    return 0 if stopped else FAILED


def _pass_over(*_: object) -> None:
    """Handler of a signal that was heeded already."""


if __name__ == "__main__":
    sys.exit(main())
