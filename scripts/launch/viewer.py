"""OHIF beside the gateway (`scripts/run --viewer`): its built pages, and the research root under one origin.

A browser asks for user and password once, for the one origin, and Orthanc gets them as it would without the
viewer: nothing here is trusted, and nothing but the research root is passed on.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, send_from_directory
from werkzeug.middleware.http_proxy import ProxyMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

from . import configure
from .errors import LaunchError
from .machine import cache_folder, ensure_tools, last_error, locked, run, say
from .ports import Ports
from .server import Server

OHIF = "3.13.2"
_CONFIG = Path(__file__).with_name("ohif-config.js")
# Name, title, and the filter that is added to searches for studies.
VIEWS = (
    ("research", "Research", ""),
    ("not-synthetic", "Research, not synthetic", "SyntheticData=NO"),
    ("ai-derived", "Research, AI-derived", "ProvenanceState=ai-derived"),
)
_Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def installed() -> Path:
    """The folder of OHIF's built pages, fetched by npm if it is not in the cache. Raises LaunchError."""
    folder = cache_folder() / f"ohif-{OHIF}"
    with locked(folder.with_suffix(".lock"), "waiting for another start that installs the viewer ..."):
        if not folder.exists():
            ensure_tools({"npm": "npm"})
            say(f"installing the OHIF viewer {OHIF} ...")
            with tempfile.TemporaryDirectory(dir=cache_folder()) as made:
                _fetch(Path(made)).rename(folder)
    return folder


def _fetch(folder: Path) -> Path:
    """OHIF's pages below `folder`; npm checks what it fetched against the registry's digest."""
    status, output = run(["npm", "pack", "--silent", f"--pack-destination={folder}", f"@ohif/app@{OHIF}"])
    if status != 0:
        raise LaunchError(
            f"npm cannot fetch the OHIF viewer ({last_error(output)})",
            "check the network and npm's registry, or leave --viewer out",
        )
    shutil.unpack_archive(next(folder.glob("*.tgz")), folder, filter="data")
    return folder / "package" / "dist"


@contextmanager
def serving(server: Server, port: int) -> Iterator[str]:
    """Serves the viewer for `server` on this machine only; gives its address. Port 0 takes a free one.

    Raises LaunchError where the configuration has no route `research` and where the port is taken.
    """
    route = configure.research_section(server.config)
    if route is None:
        raise LaunchError("the viewer shows the route research, and there is none", "leave --viewer out")
    root = str(route.get("DicomWebRoot", "/research/dicom-web"))
    pages = installed()
    with closing(Ports()) as ports:
        number = ports.take(port, "viewer", "--viewer-port")
        app = application(pages, server.url, root)
        web = make_server("127.0.0.1", number, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=web.serve_forever, name="viewer", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{web.server_port}/"
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


class _Quiet(WSGIRequestHandler):
    """Writes no line for each request: the terminal is for the person who started it."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def application(pages: Path, gateway: str, root: str) -> _Wsgi:
    """OHIF's `pages` with a configuration for the research `root` of the server at `gateway`."""
    app = Flask(__name__, static_folder=None)
    views = [
        {"name": name, "title": title, "root": _view(name, root) if question else root}
        for name, title, question in VIEWS
    ]
    script = _CONFIG.read_text("utf-8").replace("VIEWS", json.dumps(views))

    @app.get("/app-config.js")
    def config() -> Response:
        return Response(script, content_type="text/javascript")

    @app.get("/", defaults={"path": "index.html"})
    @app.get("/<path:path>")
    def page(path: str) -> Response:
        if (pages / path).is_file():
            return send_from_directory(pages, path)
        if "." in path.rpartition("/")[2]:
            abort(404)
        # The viewer's own addresses, such as /viewer?StudyInstanceUIDs=…, are all the same page.
        return send_from_directory(pages, "index.html")

    passed_on = {f"{root}/": {"target": gateway, "host": None}}
    return _Views(ProxyMiddleware(app, passed_on), root)


def _view(name: str, root: str) -> str:
    return f"/views/{name}{root}"


class _Views:
    """Turns `/views/NAME/ROOT/studies?…` into `/ROOT/studies?…` with the filter of the view."""

    def __init__(self, app: _Wsgi, root: str) -> None:
        self._app = app
        self._root = root
        self._filters = {_view(name, root): question for name, _, question in VIEWS if question}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        for prefix, question in self._filters.items():
            if path.startswith(f"{prefix}/"):
                environ["PATH_INFO"] = self._root + path[len(prefix) :]
                if path == f"{prefix}/studies":
                    asked = environ.get("QUERY_STRING", "")
                    environ["QUERY_STRING"] = f"{asked}&{question}" if asked else question
        return self._app(environ, start_response)
