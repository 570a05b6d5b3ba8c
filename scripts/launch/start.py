"""Puts a start together: installation, configuration, ports, data folder; and the context manager for tests.

with running_orthanc("1.13", config={"StableAge": 1}) as server:
    requests.get(server.url + "/system", auth=server.admin)
"""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from . import configure, jsonc, process, roots
from .errors import LaunchError
from .machine import CHECKOUT, cache_folder, default_data_folder
from .ports import Ports, is_free
from .server import Server

ServerFactory = Callable[..., AbstractContextManager[Server]]
"""The type of `running_orthanc` with its version chosen: the fixture `server_factory` of the tests."""


@contextmanager
def running_orthanc(
    orthanc: str = "1.12",
    data: Path | None = None,
    config: Mapping[str, Any] | Path | None = None,
    plugin: bool = True,
    env: Mapping[str, str] | None = None,
    request: configure.Request | None = None,
    verbose: bool = False,
    script: Path | None = None,
) -> Iterator[Server]:
    """A served Orthanc with the plugin; stopped at the end, or with the thread that entered.

    `orthanc`: as for `--orthanc`. `data`: the data folder, None for one that is removed at the end.
    `config`: a path as for `--config`, or a mapping laid over the shipped configuration (None removes a key).
    `plugin` False: the same Orthanc bare, without the Python plugin. `env`: more variables for Orthanc.
    `request`: ports as on the command line; by default free ones. `script`: a Python script other than ours.
    Raises LaunchError.
    """
    request = request or configure.Request(http_port=0, dicom_port=0, research_dicom_port=0)
    with ExitStack() as stack:
        if data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orthanc-provenance-")))
        asked = configure.Request(request.http_port, request.dicom_port, request.research_dicom_port, data)
        server = prepared(stack, asked, orthanc, config, plugin, env or {}, verbose, script)
        stack.callback(server.stop)
        server.start()
        yield server


def prepared(
    stack: ExitStack,
    request: configure.Request,
    orthanc: str,
    config: Mapping[str, Any] | Path | None,
    plugin: bool = True,
    env: Mapping[str, str] | None = None,
    verbose: bool = False,
    script: Path | None = None,
) -> Server:
    """A server ready to start: everything installed, merged, checked and reserved. `stack` frees it again."""
    path = config if isinstance(config, Path) else configure.SHIPPED
    folder = (path if path.is_dir() else path.parent).resolve()
    settings = jsonc.read(path)
    if isinstance(config, Mapping):
        settings = configure.overlay(settings, config)
    settings = configure.absolute_paths(settings, folder)
    data = configure.data_folder(settings, request.data, default_data_folder())
    lock = _lock_data(stack, data)
    # Ports before installing: a taken one is said at once, not after a minute of downloads.
    ports = _ports(
        settings, request, stack.enter_context(closing(Ports())), shipped=not isinstance(config, Path)
    )
    installation = roots.choose(orthanc)
    site = roots.site_packages(installation.python)
    additions = configure.storage(settings, data, request.data is not None) | ports
    additions["Plugins"] = configure.plugins(settings, installation, plugin)
    if plugin:
        additions["PythonScript"] = str(script or configure.script(settings, folder))
        additions["Python"] = {"AllowThreads": True}
    users: dict[str, str] = settings.get("RegisteredUsers") or {}
    if not isinstance(config, Path):
        users = additions["RegisteredUsers"] = configure.credentials(data) | users
    merged = configure.overlay(settings, additions)
    if not plugin:
        merged.pop("PythonScript", None)
    target = data / configure.MERGED_NAME
    configure.write_private(target, json.dumps(merged, indent=2) + "\n")
    keep = _kept(installation, merged, data, site)
    return Server(
        host=_address(merged),
        scheme="https" if merged.get("SslEnabled") is True else "http",
        data=data,
        config=merged,
        users=users,
        installation=installation,
        _command=process.command(installation, target, keep, verbose),
        _env=process.environment(installation, site, env or {}),
        _lock=lock,
    )


def _lock_data(stack: ExitStack, data: Path) -> int:
    """Holds the data folder. Orthanc inherits the descriptor, so it stays held until that has ended too."""
    try:
        file = stack.enter_context((data / "launcher.lock").open("a+"))
    except OSError as error:
        raise LaunchError(
            f"the data folder {data} is not writable ({error.strerror})", "give another with --data"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LaunchError(
            f"the data folder {data} is in use by another start",
            "stop that one, or give another folder with --data",
        ) from error
    return file.fileno()


def _ports(
    settings: dict[str, Any], request: configure.Request, ports: Ports, shipped: bool
) -> dict[str, Any]:
    """Takes the ports of one start; returns the keys to merge."""
    if settings.get("HttpServerEnabled") is False:
        raise LaunchError(
            "the configuration has HttpServerEnabled false", "set it to true: routes and REST need it"
        )
    http = configure.wanted_port(settings, "HttpPort", request.http_port)
    dicom = configure.wanted_port(settings, "DicomPort", request.dicom_port)
    keys: dict[str, Any] = {"HttpPort": ports.take(http, "HTTP", "--http-port"), "DicomPort": dicom}
    if settings.get("DicomServerEnabled") is not False:
        keys["DicomPort"] = ports.take(dicom, "DICOM", "--dicom-port")
    section = configure.research_section(settings)
    given = request.research_dicom_port
    if section is None:
        if given is not None:
            raise LaunchError(
                "--research-dicom-port was given and the configuration has no route research",
                "leave it out, or add the route to Provenance.Routes",
            )
        return keys
    by_site = "DicomPort" in section and not shipped
    wanted = given if given is not None else section.get("DicomPort", configure.RESEARCH_PORT)
    if given is None and not by_site and not is_free(wanted):
        wanted = 0  # Nobody asked for the default, so another start beside this one may have it.
    number = ports.take(
        configure.port_number(wanted, "DicomPort"), "research DICOM", "--research-dicom-port", True
    )
    keys["Provenance"] = {"Routes": {"research": {"DicomPort": number}}}
    return keys


def _address(config: dict[str, Any]) -> str:
    """Where this process reaches Orthanc: 127.0.0.1, unless the site binds other addresses only."""
    bound = config.get("HttpBindAddresses") or []
    return "127.0.0.1" if not bound or {"127.0.0.1", "0.0.0.0"} & set(bound) else str(bound[0])


def _kept(installation: roots.Installation, config: dict[str, Any], data: Path, site: Path) -> list[Path]:
    """The paths below /usr that an Orthanc of the cache must still see: ours, and those of the site."""
    if installation.root is None:
        return []
    own = [path.resolve() for path in (CHECKOUT, data, cache_folder(), site)]
    kept = [path for path in own if path.is_relative_to("/usr")]
    # What the root has itself (its plugins, its certificates) is the root's.
    kept += [path for path in configure.paths_below_usr(config) if not installation.here(path).exists()]
    # A path below a kept one comes with it.
    return [path for path in dict.fromkeys(kept) if not any(other in path.parents for other in kept)]
