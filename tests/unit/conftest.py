"""Fixtures that several rooms use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_fixture import ROOT, USER, Archive, fill
from werkzeug.serving import make_server


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An empty archive with one research route."""
    with Archive(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive with one study of every kind, which tests only read."""
    with Archive(tmp_path_factory.mktemp("archive")) as made:
        yield fill(made)


@pytest.fixture(scope="session")
def live(filled: Archive) -> Iterator[str]:
    """The URL of the research root of `filled`, served over HTTP on loopback to the research user."""

    def authenticated(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        return filled.app({**environ, "REMOTE_USER": USER}, start_response)

    server = make_server("127.0.0.1", 0, authenticated, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}{ROOT}"
    server.shutdown()
    thread.join()
    server.server_close()
