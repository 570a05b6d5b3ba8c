"""Merges into a site's configuration what the plugin needs, and touches nothing else of it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import LaunchError
from .machine import CHECKOUT
from .roots import Installation

Config = dict[str, Any]

SHIPPED = CHECKOUT / "config" / "orthanc.json"
SCRIPT = CHECKOUT / "plugin" / "provenance.py"
MERGED_NAME = "orthanc-merged.json"
USERS = ("admin", "researcher")
PORTS = {"HttpPort": 8042, "DicomPort": 4242}
RESEARCH_PORT = 4243
_PLUGINS = ("libOrthancPython.so", "libOrthancDicomWeb.so", "libOrthancGdcm.so")
_POSTGRESQL = {
    "EnableIndex": "libOrthancPostgreSQLIndex.so",
    "EnableStorage": "libOrthancPostgreSQLStorage.so",
}
# Orthanc reads these relative to the folder of its configuration file; the merged file lies elsewhere.
_PATHS = (
    "StorageDirectory", "IndexDirectory", "TemporaryDirectory", "HttpsCACertificates",
    "SslCertificate", "SslTrustedClientCertificates",
    "DicomTlsCertificate", "DicomTlsPrivateKey", "DicomTlsTrustedCertificates",
)  # fmt: skip
_PATH_LISTS = ("LuaScripts", "Plugins")


@dataclass(frozen=True)
class Request:
    """What the command line asks for; None: it does not say. A port of 0 asks for any free one."""

    http_port: int | None = None
    dicom_port: int | None = None
    research_dicom_port: int | None = None
    data: Path | None = None


def overlay(base: Mapping[str, Any], upper: Mapping[str, Any]) -> Config:
    """`upper` laid over `base`, section by section; a value of None removes the key."""
    merged = dict(base)
    for key, value in upper.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = overlay(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def absolute_paths(config: Config, folder: Path) -> Config:
    """The configuration with relative paths made absolute, as Orthanc would from `folder`."""
    changed = dict(config)
    for key in _PATHS:
        if isinstance(value := config.get(key), str) and value:
            changed[key] = str(folder / value)
    for key in _PATH_LISTS:
        value = config.get(key)
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list):
            changed[key] = [str(folder / entry) for entry in values]
    return changed


def plugins(config: Config, installation: Installation, with_python: bool = True) -> list[str]:
    """The "Plugins" list: ours first, Python before all, each by file; then the site's own that exist.

    Folders are expanded: with a folder the order of routes is undefined, and ours must come first.
    Raises LaunchError when the Python plugin is missing.
    """
    wanted = [name for name in _PLUGINS if with_python or name != _PLUGINS[0]]
    section = config.get("PostgreSQL")
    if isinstance(section, dict):
        wanted += [name for key, name in _POSTGRESQL.items() if section.get(key) is True]
    found = {name: installation.plugin(name) for name in wanted}
    for name in wanted:
        if found[name] is None and name != "libOrthancGdcm.so":
            raise LaunchError(
                f"this Orthanc has no {name}", "install that plugin of Orthanc, or use --orthanc 1.12"
            )
    listed = [path for path in found.values() if path is not None]
    # Named or lying in a folder, PostgreSQL's plugins and a second Python are not loaded unless wanted above.
    taken = {path.name for path in listed} | {_PLUGINS[0], *_POSTGRESQL.values()}
    for path in _site_plugins(config.get("Plugins", []), installation):
        # libOrthancPython.so.5.0 and libOrthancPython.so are the same plugin under two names.
        name = path.name.partition(".so")[0] + ".so"
        if name not in taken:
            taken.add(name)
            listed.append(path)
    return [str(path) for path in listed]


def _site_plugins(entries: list[str], installation: Installation) -> Iterator[Path]:
    for entry in map(Path, entries):
        seen = installation.here(entry) if installation.here(entry).exists() else entry
        if seen.is_dir():
            yield from (entry / file.name for file in sorted(seen.glob("*.so")))
        elif seen.exists():
            yield entry


def script(config: Config, folder: Path) -> Path:
    """The Python script for Orthanc: ours, or the site's own if that one registers the package.

    Raises LaunchError for a site script that does not: Orthanc runs one only, and this one must not vanish.
    """
    named = config.get("PythonScript")
    if not named:
        return SCRIPT
    for path in (Path.cwd() / str(named), folder / str(named)):
        if path.is_file():
            if "orthanc_provenance" in path.read_text(encoding="utf-8", errors="replace"):
                return path.resolve()
            break
    raise LaunchError(
        f"the configuration has a PythonScript of its own ({named}) and Orthanc runs one only",
        "add to that script: import orthanc_provenance; orthanc_provenance.register(orthanc)",
    )


def wanted_port(config: Config, key: str, given: int | None) -> int:
    """A port: the command line's, else the configuration's, else Orthanc's default. Raises LaunchError."""
    return port_number(config.get(key, PORTS[key]) if given is None else given, key)


def port_number(value: object, name: str) -> int:
    """The value as a port number, 0 included. Raises LaunchError, naming the key."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
        return value
    raise LaunchError(f"{name} is {value!r}, which is no port", "give a number from 0 to 65535")


def research_section(config: Config) -> Config | None:
    """The route `research` as far as it is configured; None when the site has other routes only."""
    provenance = config.get("Provenance", {})
    routes = provenance.get("Routes", {}) if isinstance(provenance, dict) else {}
    if not isinstance(routes, dict):
        raise LaunchError("Provenance.Routes is no section", "write it as { ... }")
    if routes and "research" not in routes:
        return None
    return dict(routes.get("research") or {})


def data_folder(config: Config, given: Path | None, default: Path) -> Path:
    """The data folder, made (0700) if missing: the command line's, the configuration's, or `default`."""
    folder = Path(given or config.get("StorageDirectory") or default).expanduser().absolute()
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise LaunchError(
            f"the data folder {folder} cannot be made ({error.strerror})", "give another with --data"
        ) from error
    return folder.resolve()


def storage(config: Config, data: Path, given: bool) -> Config:
    """The keys that put the archive into `data`; none when the site chose one and no --data was given."""
    if "StorageDirectory" in config and not given:
        return {}
    return {"StorageDirectory": str(data), "IndexDirectory": str(data)}


def credentials(data: Path) -> dict[str, str]:
    """The passwords of `admin` and `researcher`: made on first use, kept in the data folder, mode 0600."""
    file = data / "credentials.json"
    kept: dict[str, str] = {}
    if file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            return {user: str(kept[user]) for user in USERS}
        except (ValueError, KeyError, TypeError) as error:
            raise LaunchError(
                f"{file} does not hold the passwords of {' and '.join(USERS)}", "remove it"
            ) from error
    kept = {user: secrets.token_urlsafe(18) for user in USERS}
    write_private(file, json.dumps(kept, indent=2) + "\n")
    return kept


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user can read, in one step. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def paths_below_usr(config: Config) -> Iterator[Path]:
    """The existing files and folders below /usr that the configuration names, wherever it names them."""
    for value in config.values():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict):
                yield from paths_below_usr(entry)
            elif isinstance(entry, str) and entry.startswith("/") and "\0" not in entry:
                path = Path(entry).resolve()
                if path.is_relative_to("/usr") and path != Path("/usr") and path.exists():
                    yield path
