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
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_SECONDS = 0.5
LIVELY_SECONDS, LIVELY_FOR = 0.05, 60.0  # where a message came lately, the next is not far
RETRY = {"initial_backoff": 0.02, "backoff_cap": 0.1}  # seconds
HEARTBEAT_SECONDS = 15.0  # Flower takes 10 and more
_PR_SET_PDEATHSIG = 1


class ShortWaits:
    """The time module, with short sleeps: shorter yet for a while after a message."""

    def __init__(self) -> None:
        """Begin without a message."""
        self._until = 0.0

    def wake(self) -> None:
        """Note that a message came."""
        self._until = time.monotonic() + LIVELY_FOR

    def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than the state of things allows."""
        time.sleep(min(seconds, LIVELY_SECONDS if time.monotonic() < self._until else IDLE_SECONDS))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def main() -> None:
    """Run the SuperNode with this process's arguments."""
    with suppress(OSError, AttributeError):  # Linux; elsewhere a gate that is killed leaves its node behind
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection, start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    waits = ShortWaits()
    if hasattr(start_client_internal, "time"):
        start_client_internal.time = waits
    if hasattr(start_client_internal, "pull_objects"):
        start_client_internal.pull_objects = _prompt(start_client_internal.pull_objects, waits)
    for module in (heartbeat, fleet_http_connection):
        if hasattr(module, "HEARTBEAT_DEFAULT_INTERVAL"):
            vars(module)["HEARTBEAT_DEFAULT_INTERVAL"] = HEARTBEAT_SECONDS
    flower_supernode()


def _prompt(pull_objects: Callable[..., Any], waits: ShortWaits) -> Callable[..., Any]:
    """Make fetching a message's arrays try again sooner, and say that a message came."""

    @wraps(pull_objects)
    def pull(*arguments: Any, **settings: Any) -> Any:
        waits.wake()
        return pull_objects(*arguments, **RETRY | settings)

    return pull


if __name__ == "__main__":
    main()
