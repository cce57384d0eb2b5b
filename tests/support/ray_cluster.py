"""A Ray cluster of two small nodes on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
# A node that does not answer counts as dead after 8 s, in place of 50.
_HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_timeout_ms": 2000,
           "health_check_failure_threshold": 3}  # fmt: skip

# No page, no nodes that come by themselves, no output sent to drivers, which ask for none.
_LEFT_OUT = {"include_dashboard": False, "no_monitor": True, "include_log_monitor": False}


class TwoNodes:
    """The cluster; a node that a test has killed is replaced by `mend`."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._other: Any = None
        self.mend()

    @property
    def address(self) -> str:
        return self._cluster.address

    @property
    def head(self) -> str:
        """The id of the node that stays."""
        return self._cluster.head_node.node_id

    def mend(self) -> None:
        """Make the second node, or make it anew."""
        if self._other is not None:
            self._cluster.remove_node(self._other, allow_graceful=False)
        self._other = self._cluster.add_node(**_NODE)


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Its processes have this one's environment, as it is now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster  # takes a part of a second

        head = {**_NODE, **_LEFT_OUT, "_system_config": _HEALTH}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield TwoNodes(cluster)
        finally:
            cluster.shutdown()
