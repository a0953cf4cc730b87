"""Flower's SuperNode, made to look for messages and say that it lives more often, and to end when the gate does.

Flower 1.41 waits three seconds before it asks again whether there is a message, and one second where a message is
announced before its arrays have arrived; in a study of short rounds that is most of the round. It says every half
minute that it lives, and for twice that long the coordinator takes a node that was killed for online and turns its
return away. It offers no setting for any of these, so its modules are told other numbers. If Flower changes the places,
nothing happens but that it waits as long as it likes; tests/gate/test_workers.py says so then.
"""

from __future__ import annotations

import ctypes
import signal
import time
from contextlib import suppress
from functools import partial
from typing import Any

IDLE_SECONDS = 0.2
RETRY_SECONDS = 0.05
HEARTBEAT_SECONDS = 15.0  # Flower takes 10 and more
_PR_SET_PDEATHSIG = 1


class ShortWaits:
    """The time module, with no sleep longer than a bound."""

    def __init__(self, longest: float) -> None:
        """Take the bound in seconds."""
        self._longest = longest

    def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than the bound."""
        time.sleep(min(seconds, self._longest))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def main() -> None:
    """Run the SuperNode with this process's arguments."""
    with suppress(OSError, AttributeError):  # Linux; elsewhere a gate that is killed leaves its node behind
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection, start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    if hasattr(start_client_internal, "time"):
        start_client_internal.time = ShortWaits(IDLE_SECONDS)
    if hasattr(start_client_internal, "pull_objects"):
        start_client_internal.pull_objects = partial(
            start_client_internal.pull_objects, initial_backoff=RETRY_SECONDS, backoff_cap=1.0
        )
    for module in (heartbeat, fleet_http_connection):
        if hasattr(module, "HEARTBEAT_DEFAULT_INTERVAL"):
            vars(module)["HEARTBEAT_DEFAULT_INTERVAL"] = HEARTBEAT_SECONDS
    flower_supernode()


if __name__ == "__main__":
    main()
