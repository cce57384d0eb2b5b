"""Calls spread over the machines of a Ray cluster; one whose process or machine dies is made again elsewhere."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from pipeline.cluster.connection import Cluster, check_versions, connected, versions
from pipeline.cluster.machines import places_on
from pipeline.cluster.staging import unseen
from pipeline.core import storage
from pipeline.core.import_path import leave_out_working_folder
from pipeline.decode.worker_process import WorkerError

Argument = TypeVar("Argument")
Result = TypeVar("Result")
log = logging.getLogger(__name__)

_AGAIN = 2  # times that a call is made anew whose process dies
_MACHINES_S = 5.0  # between looks whether there is a machine by now


def call_on_cluster(
    cluster: Cluster,
    function: Callable[[Argument, str], Result],
    arguments: Sequence[Argument],
    workspace: str,
    seen: str,
) -> Iterator[Result]:
    """What the function returns for each of the arguments, as they end; calls end with the iterator.

    Each call has a core of a machine to itself and, where any machine has a GPU that `cluster.device` allows, a GPU.

    Args:
        function: a module's; takes an argument and the device to use, cuda or cpu. The same call twice must do no harm.
        seen: a file of `workspace` by which a machine knows that it sees it. Both absolute.

    Raises:
        OptionError: Ray is not installed, there is no such cluster, or a machine has another vdv.
        WorkspaceError: a machine does not reach the workspace.
        WorkerError: a call ends its process each time. What the function raises is raised here, too.
    """
    with connected(cluster.address) as ray:
        on_gpu = _wait_for_machines(ray, cluster)
        remote = ray.remote(_call).options(num_cpus=1, num_gpus=int(on_gpu), max_retries=_AGAIN)
        left = [remote.remote(function, one, on_gpu, versions(), workspace, seen) for one in arguments]
        try:
            while left:
                ended, left = ray.wait(left)
                for reference in ended:
                    yield _value(ray, reference)
        finally:
            for reference in left:
                ray.cancel(reference, force=True)


def _wait_for_machines(ray: Any, cluster: Cluster) -> bool:
    """Whether calls are to run on GPUs; returns once a machine is there."""
    warned = False
    while not (places := places_on(ray.nodes(), cluster.device, 1, 1)):
        if not warned:
            log.warning(
                "warning: no machine of the Ray cluster offers a processor core; ray status says which there are"
            )
            warned = True
        threading.Event().wait(_MACHINES_S)
    return any(place.gpus > 0 for place in places)


def _value(ray: Any, reference: Any) -> Any:
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise WorkerError(f"{_AGAIN + 1} processes of the Ray cluster died over the same work ({reason})") from None


def _call(
    function: Callable[[Any, str], Any], argument: Any, on_gpu: bool, wanted: str, workspace: str, seen: str
) -> Any:
    """The call, in a process of a machine of the cluster."""
    from ray.util import get_node_ip_address

    leave_out_working_folder()
    machine = get_node_ip_address()
    check_versions(machine, wanted)
    if not storage.exists(seen):
        raise unseen(workspace, machine)
    return function(argument, "cuda" if on_gpu else "cpu")
