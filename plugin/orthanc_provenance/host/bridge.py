"""Runs a WSGI app (PEP 3333) behind the host's REST callbacks, on threads of its own.

The host's HTTP threads have stacks of 100 KB, so they only move bytes: each request is handed to a thread of
the bridge, and what the app answers comes back part by part through a short queue. A short answer is sent
whole, with its length; a longer one is streamed and never gathered. The host streams without a length and
ends with the connection, by which no client can tell an end from a break; hence chunks (RFC 9112 7.1).
"""

from __future__ import annotations

import io
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ..errors import Withdrawn

log = logging.getLogger(__name__)

WsgiApp = Callable[..., Iterable[bytes]]
_PARTS_AHEAD = 4
# Parts below this travel with the next one: each journey costs more than what is in them.
_TINY = 1 << 10
_WAIT_SECONDS = 120.0
_STOP_SECONDS = 5.0
# Below this an answer is sent whole: the host wants a length for everything but 200.
_WHOLE = 1 << 16
_LAST_CHUNK = b"0\r\n\r\n"
_UNDECODED = re.compile(r"[!\"$%'-~]*")  # printable ASCII without blank, # and &
_REALM = re.compile(r'realm="([^"]*)"')
# Headers that the host writes by itself with these statuses.
_OF_THE_HOST = {401: frozenset(("www-authenticate",)), 405: frozenset(("allow",))}
# Methods that the host does not pass on, but answers with 404.
_NEVER_PASSED = frozenset(("HEAD", "OPTIONS"))
_HOP_BY_HOP = frozenset(("connection", "content-length", "content-type", "transfer-encoding"))


class BridgeError(Exception):
    """The app failed, or took too long, after the answer had begun: it must not look complete."""


@dataclass(slots=True)
class _Exchange:
    """One request on its way through the app.

    Parts are bytes, some of which travel together; None ends them, an exception breaks them.
    """

    environ: dict[str, Any]
    started: threading.Event = field(default_factory=threading.Event)
    status: int = 500
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: queue.Queue[tuple[bytes, ...] | BaseException | None] = field(
        default_factory=lambda: queue.Queue(_PARTS_AHEAD)
    )
    abandoned: threading.Event = field(default_factory=threading.Event)

    def put(self, part: tuple[bytes, ...] | BaseException | None) -> bool:
        """Hand a part over; False once nobody waits for it."""
        while not self.abandoned.is_set():
            try:
                self.parts.put(part, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False

    def take(self) -> tuple[bytes, ...] | None:
        """The next parts, None at the end. Raises BridgeError where the app failed."""
        try:
            part = self.parts.get(timeout=_WAIT_SECONDS)
        except queue.Empty as problem:
            raise BridgeError(f"no answer within {_WAIT_SECONDS:.0f} s") from problem
        if isinstance(part, BaseException):
            raise BridgeError(f"the answer broke off: {type(part).__name__}") from part
        return part


class Bridge:
    """Serves `app` for a host. Start it once the host runs its threads, stop it before the host ends.

    `threads` are as many as the host has for HTTP: a client that reads slowly keeps one of each, and nobody
    else waiting. `decodes` says whether the host is known to decode the arguments of a URL, see
    `_query_string`. `scheme` is that by which the host serves, http or https.
    """

    def __init__(
        self,
        app: WsgiApp,
        server_name: str = "localhost",
        port: int = 8042,
        *,
        threads: int = 8,
        decodes: bool = True,
        scheme: str = "http",
    ) -> None:
        self._app = app
        self._server = (server_name, port)
        self._scheme = scheme
        self._decodes = decodes
        self._stopped = False
        self._queue: queue.SimpleQueue[_Exchange | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"provenance-web-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Refuse what comes, and let the requests that run come to their end, for a few seconds in all."""
        self._stopped = True
        deadline = time.monotonic() + _STOP_SECONDS
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def handle(self, output: Any, uri: str, request: Mapping[str, Any], user: str, address: str) -> None:
        """Answer one request of the host on `output`; called on the host's thread.

        Raises BridgeError where the answer broke off after it had begun.
        """
        if self._stopped:
            output.SendHttpStatus(503, b"the server is stopping\n")
            return
        exchange = _Exchange(self._environ(uri, request, user, address))
        self._queue.put(exchange)
        try:
            if not exchange.started.wait(_WAIT_SECONDS):
                output.SendHttpStatus(503, b"the server is busy, try again later\n")
                return
            self._answer(output, exchange)
        finally:
            exchange.abandoned.set()

    def _answer(self, output: Any, exchange: _Exchange) -> None:
        try:
            head, ended = _gather(exchange)
        except BridgeError as problem:
            if isinstance(problem.__cause__, Withdrawn):
                output.SendHttpStatus(503, b"what was asked for is changing at this moment; try again\n")
                return
            log.error("nothing was answered: %s", problem)
            output.SendHttpStatus(500, b"internal error; Orthanc's log says more\n")
            return
        content_type = "application/octet-stream"
        for name, value in exchange.headers:
            if name.lower() == "content-type":
                content_type = value
            elif name.lower() not in _HOP_BY_HOP | _OF_THE_HOST.get(exchange.status, frozenset()):
                output.SetHttpHeader(name, value)
        if exchange.status != 200:
            _send_status(output, exchange, b"".join(head))
        elif ended:
            output.AnswerBuffer(b"".join(head), content_type)
        else:
            output.SetHttpHeader("Transfer-Encoding", "chunked")
            output.StartStreamAnswer(content_type)
            _stream(output, exchange, head)

    def _work(self) -> None:
        while (exchange := self._queue.get()) is not None:
            self._run(exchange)
            # What a client that left did not take must not wait in memory for the next request.
            del exchange

    def _run(self, exchange: _Exchange) -> None:
        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            exchange.status, exchange.headers = int(status.split(" ", 1)[0]), headers
            return lambda part: exchange.put((part,))

        body: Iterable[bytes] = ()
        try:
            body = self._app(exchange.environ, start_response)
            if _hand_over(body, exchange):
                exchange.put(None)
        except Withdrawn as problem:
            log.info("%s: %s", exchange.environ["PATH_INFO"], problem)
            exchange.put(problem)
        # The boundary of a web request: whatever the app raises must end this exchange and no other.
        except Exception as problem:
            log.exception("the web app failed")
            exchange.put(problem)
        finally:
            exchange.started.set()
            close = getattr(body, "close", None)
            if close is not None:
                close()

    def _environ(self, uri: str, request: Mapping[str, Any], user: str, address: str) -> dict[str, Any]:
        headers: Mapping[str, str] = request.get("headers", {})
        body = request.get("body", b"")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request["method"],
            "SCRIPT_NAME": "",
            "PATH_INFO": uri.encode("utf-8").decode("latin-1"),
            "QUERY_STRING": _query_string(request.get("get", {}), self._decodes),
            "SERVER_NAME": self._server[0],
            "SERVER_PORT": str(self._server[1]),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": address,
            "REMOTE_USER": user,
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": headers.get("content-type", ""),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": self._scheme,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": _Errors(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers.items():
            if "_" in name:
                # It would pass for another header, such as one that only a proxy may set.
                continue
            key = "HTTP_" + name.upper().replace("-", "_")
            if key not in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
                environ[key] = value
        return environ


def _send_status(output: Any, exchange: _Exchange, body: bytes) -> None:
    """Answer with any status but 200. Two of them the host sends only in its own way, without a body."""
    headers = {name.lower(): value for name, value in exchange.headers}
    if exchange.status == 401:
        realm = _REALM.search(headers.get("www-authenticate", ""))
        output.SendUnauthorized(realm.group(1) if realm else "")
    elif exchange.status == 405:
        allowed = (method.strip() for method in headers.get("allow", "").split(","))
        output.SendMethodNotAllowed(", ".join(method for method in allowed if method not in _NEVER_PASSED))
    else:
        # The host gives every answer but 200 the content type text/plain, and would send two.
        output.SendHttpStatus(exchange.status, body)


def _query_string(arguments: Mapping[str, str], decodes: bool) -> str:
    """The arguments of a URL as they stood in it (RFC 3986 section 3.4).

    Orthanc 1.12.7 does not decode them, 1.13 does. Of a version between the two is told by the characters:
    what cannot stand in a URL was decoded.
    """
    if decodes or not all(map(_UNDECODED.fullmatch, (*arguments, *arguments.values()))):
        return urlencode(arguments)
    return "&".join(f"{name}={value}" for name, value in arguments.items())


def _hand_over(body: Iterable[bytes], exchange: _Exchange) -> bool:
    """Hand over all parts of an answer; False once nobody waits for them."""
    tiny: tuple[bytes, ...] = ()
    for part in body:
        if len(part) < _TINY and len(tiny) < _PARTS_AHEAD:
            tiny += (part,)
            continue
        exchange.started.set()
        if not exchange.put((*tiny, part)):
            return False
        tiny = ()
        # What was sent must not wait in memory while the next part is made.
        del part
    exchange.started.set()
    return exchange.put(tiny)


def _gather(exchange: _Exchange) -> tuple[list[bytes], bool]:
    """The start of an answer: all of it where it is short or one part, and whether it was all."""
    parts: list[bytes] = []
    size = 0
    declared = next((value for name, value in exchange.headers if name.lower() == "content-length"), "")
    while size < _WHOLE or exchange.status != 200:
        taken = exchange.take()
        if taken is None:
            return parts, True
        parts += taken
        size += sum(map(len, taken))
    return parts, str(size) == declared


def _stream(output: Any, exchange: _Exchange, begun: list[bytes]) -> None:
    """Stream an answer until its end. Raises BridgeError where it breaks off."""
    before = _send_chunk(output, begun, b"")
    begun.clear()
    while (parts := exchange.take()) is not None:
        before = _send_chunk(output, parts, before)
        # What was sent must not wait in memory for the next part.
        del parts
    output.SendStreamChunk(before + _LAST_CHUNK)


def _send_chunk(output: Any, parts: Sequence[bytes], before: bytes) -> bytes:
    """Send `parts` as one chunk, `before` in front of it; gives back what is to go in front of the next.

    Small parts go together, large ones alone: a packet for each costs much, and so does a copy.
    """
    size = sum(map(len, parts))
    if not size:
        return before
    small = before + b"%x\r\n" % size
    for part in parts:
        if len(part) < _TINY:
            small += part
            continue
        if small:
            output.SendStreamChunk(small)
        output.SendStreamChunk(part)
        small = b""
    return small + b"\r\n"


class _Errors(io.TextIOBase):
    """Takes what an app writes to `wsgi.errors` into the log."""

    def write(self, text: str) -> int:
        if text.strip():
            log.error("%s", text.rstrip())
        return len(text)
