"""The public keys of other gateways, from files and over HTTPS: bounded, patient, and never in a callback."""

from __future__ import annotations

import base64
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from securesystemslib.signer import SSlibKey

from ..errors import KeyFileError
from .keys import MAX_KEYS_FILE, read_public_keys
from .trust import TrustedKeys

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 4.0
REFRESH_SECONDS = 3600.0
RETRY_SECONDS = 60.0
_CHUNK = 1 << 14
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class ForeignKeys:
    """Keeps the keys of `sources`, files and addresses, in `trusted`; the setting `TrustedKeys`.

    A source that cannot be read is told once, and tried again every minute; others are read again every hour,
    so that a key which another gateway takes back is no longer trusted here. While a source fails, the keys
    that it had last stay trusted.
    """

    def __init__(
        self,
        sources: Iterable[str],
        trusted: TrustedKeys,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trusted = trusted
        self._clock = clock
        self._due = dict.fromkeys(sources, float("-inf"))
        self._problems: dict[str, str] = {}

    @property
    def problems(self) -> list[str]:
        """What is wrong with which source, one text for each that fails."""
        return list(self._problems.values())

    def read_files(self) -> None:
        """Read the files, and no addresses: for the start, where nothing may wait."""
        for source in self._due:
            if not is_address(source):
                self._read(source)

    def step(self) -> None:
        """Read one of the sources that are due, so that a stop never waits for more than one of them."""
        now = self._clock()
        source = next((source for source, due in self._due.items() if due <= now), None)
        if source is not None:
            self._read(source)

    def _read(self, source: str) -> None:
        try:
            keys = fetch_public_keys(source)
        except KeyFileError as problem:
            self._due[source] = self._clock() + RETRY_SECONDS
            if self._problems.get(source) != str(problem):
                log.error("a trusted key is not believed for now: %s", problem)
            self._problems[source] = str(problem)
        else:
            self._due[source] = self._clock() + REFRESH_SECONDS
            self._problems.pop(source, None)
            self._trusted.put(source, keys)


def is_address(source: str) -> bool:
    """Whether `source` is an address rather than a file."""
    return "://" in source


def fetch_public_keys(source: str) -> tuple[SSlibKey, ...]:
    """The public keys in the file or behind the address `source`, as `keys.read_public_keys` reads them.

    An address may carry user and password, `https://user:password@host/provenance/api/keys`. It must be
    https, or lie on this machine: whoever can change what is fetched could make every stamp trusted. It is
    not followed elsewhere. Raises KeyFileError, which never tells the password.
    """
    if not is_address(source):
        try:
            with Path(source).open("rb") as file:
                return read_public_keys(file.read(MAX_KEYS_FILE + 1), source)
        except OSError as problem:
            raise KeyFileError(f"{source} cannot be read: {problem.strerror or problem}") from problem
    try:
        parts = urlsplit(source)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        host = parts.hostname
    except ValueError as problem:
        raise KeyFileError("a trusted key has an address that is none; give https://host/path") from problem
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise KeyFileError(f"{address} is not fetched: keys are read over https only")
    try:
        return read_public_keys(_fetch(address, parts), address)
    except (OSError, ValueError, HTTPException) as problem:
        reason = getattr(problem, "reason", None) or problem
        raise KeyFileError(f"{address} cannot be fetched: {reason}") from problem


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _fetch(address: str, parts: SplitResult) -> bytes:
    """Raises OSError, ValueError, HTTPException."""
    request = urllib.request.Request(address, headers={"Accept": "application/json"})  # noqa: S310 - checked
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(credentials.encode()).decode())
    opener = urllib.request.build_opener(_StayHere)
    with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
        return _read_bounded(response)


def _read_bounded(response: HTTPResponse) -> bytes:
    """The body, up to the first byte too many. The timeout holds for each read, the deadline for all."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    data = b""
    while chunk := response.read1(_CHUNK):
        data += chunk
        if len(data) > MAX_KEYS_FILE:
            break
        if time.monotonic() > deadline:
            raise TimeoutError("it answers too slowly")
    return data
