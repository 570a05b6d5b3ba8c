"""Who a host thread works for, and how far its stack reaches.

Orthanc tells a callback for a received instance nothing about the request behind it. But an HTTP request is
filtered and served on one thread, so the filter leaves a note under the native thread number.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass

_ASSUMED_STACK = 8 << 20


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What the filter saw of the request that a thread serves."""

    user: str
    address: str


class Requests:
    """Notes of the HTTP filter by native thread number, each overwritten by the thread's next request.

    A thread without a note serves no HTTP request: it runs a job, or a DICOM association.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, HttpRequest] = {}

    def note(self, request: HttpRequest) -> None:
        """The calling thread serves `request` from now on."""
        self._by_thread[threading.get_native_id()] = request

    def current(self) -> HttpRequest | None:
        """The request that the calling thread serves, None where it serves none."""
        return self._by_thread.get(threading.get_native_id())


def basic_user(headers: Mapping[str, str]) -> str:
    """The user name of an HTTP Basic `authorization` header (RFC 7617), "" where there is none.

    Orthanc has verified the password before any plugin sees the request, if it verifies at all.
    """
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return decoded.partition(":")[0]


class StackGuard:
    """Tells CPython 3.14 that the stack of a host thread reaches further down than it does.

    Its guard takes the 100 KB stacks of the host's HTTP threads for exhausted, and then never frees the
    objects that are dropped on them. Callbacks do no deep work, so the wider range is never used. With glibc
    a thread's identifier is an address at the top of its stack, so nothing has to be looked up.
    """

    def __init__(self) -> None:
        self._protect = None
        if sys.version_info >= (3, 14):
            self._protect = getattr(ctypes.pythonapi, "PyUnstable_ThreadState_SetStackProtection", None)
        if self._protect is not None:
            self._protect.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
            self._protect.restype = ctypes.c_int
            self._current = ctypes.pythonapi.PyThreadState_Get
            self._current.argtypes = ()
            self._current.restype = ctypes.c_void_p

    def widen(self) -> None:
        """Widen the range for the calling thread; nothing to do on versions without such a guard."""
        if self._protect is not None:
            top = threading.get_ident()
            self._protect(self._current(), top - _ASSUMED_STACK, _ASSUMED_STACK)
