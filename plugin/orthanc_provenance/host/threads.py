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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

_ASSUMED_STACK = 8 << 20
_ERRAND_THREADS = 2
_ERRAND_SECONDS = 10.0


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


_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


class Errands:
    """Runs on threads with normal stacks what is too deep for those of the host, while the caller waits."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_ERRAND_THREADS, "provenance-errand")

    def sending(self, function: Callable[[_Given], _Found]) -> Callable[[_Given], _Found]:
        """`function`, run elsewhere. Raises what it raises, and TimeoutError where it takes too long."""
        return lambda given: self._threads.submit(function, given).result(_ERRAND_SECONDS)

    def stop(self) -> None:
        """Take no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
