"""Ports: is one free, which one is, and holding it until its owner listens."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from .errors import LaunchError


def _bound(port: int, shared: bool) -> socket.socket:
    """A socket bound to the port on all addresses, not listening. Raises OSError."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Shared: the owner may bind and listen while we hold the port, and connections that linger from an
        # earlier run (TIME_WAIT) do not count. Nobody can bind it when somebody listens.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(shared))
        holder.bind(("", port))
    except OSError:
        holder.close()
        raise
    return holder


def is_free(port: int) -> bool:
    """Does nobody listen on this port or hold it, on any address?"""
    try:
        _bound(port, shared=False).close()
    except OSError:
        return False
    return True


class Ports:
    """The ports of one start, each held while this object is open: no other start picks the same one."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def take(self, port: int, name: str, option: str, exclusive: bool = False) -> int:
        """Holds the port and returns its number; 0 picks a free one.

        `exclusive`: its owner may not listen yet, so a port that another start merely holds is refused too.
        Raises LaunchError when it is taken; `name` and `option` say which port it is and how to change it.
        """
        try:
            if exclusive:
                _bound(port, shared=False).close()
            holder = self._held.enter_context(_bound(port, shared=True))
        except OSError as error:
            why = (
                "is already in use"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror})"
            )
            raise LaunchError(
                f"the {name} port {port} {why}",
                f"free it, or give another with {option} (0 picks a free one)",
            ) from error
        number: int = holder.getsockname()[1]
        return number

    def close(self) -> None:
        """Lets go of all ports."""
        self._held.close()
