"""The `Provenance` section of Orthanc's configuration: read once at start, refused by name where wrong.

Keys are Orthanc's CamelCase. Environment variables `ORTHANC__PROVENANCE__STAMP=None` or
`ORTHANC__PROVENANCE__ROUTES__RESEARCH__USERS='["ada"]'` win over the file, as in Orthanc's containers.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import ConfigurationError

SECTION = "Provenance"
_ENVIRONMENT = "ORTHANC__PROVENANCE__"
_STAMPS = ("All", "Synthetic", "None")
_CLINICAL_PATHS = (
    *(
        "app",
        "changes",
        "exports",
        "instances",
        "jobs",
        "modalities",
        "patients",
        "peers",
        "plugins",
        "provenance",
    ),
    *(
        "queries",
        "series",
        "statistics",
        "storage-commitment",
        "studies",
        "system",
        "tools",
        "transfers",
        "ui",
    ),
    *("webdav", "web-viewer", "stone-webviewer", "ohif", "wsi"),
)
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
ROUTE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
GROUP = "group:"
"""What stands before the name of a group where the configuration lists users."""

TOKEN_HEADER = "X-Provenance-Token"  # noqa: S105 - the name of a header
"""The header for an access token where `Authorization` serves to pass Orthanc's own check."""


@dataclass(frozen=True, slots=True)
class Route:
    """One named way out to research. Field names are the keys of the configuration in snake case."""

    name: str = "research"
    dicom_web_root: str = "/research/dicom-web"
    dicom_aet: str = "RESEARCH"
    dicom_port: int = 4243
    users: tuple[str, ...] = ("researcher",)
    ae_titles: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    dicom_web_servers: tuple[str, ...] = ()
    purpose: str = "algorithm-development"
    require_identity_removed: bool = False
    allow_undetermined: bool = False


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The reverse proxies whose word on user and groups is believed, by address or network (CIDR)."""

    addresses: tuple[str, ...] = ()
    user_header: str = "X-Forwarded-User"
    groups_header: str = "X-Forwarded-Groups"


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole section. `stamp` is `All`, `Synthetic` or `None`."""

    enable: bool = True
    database_url: str = ""
    stamp: str = "All"
    markers_directory: str = ""
    signing_key: str = ""
    trusted_keys: tuple[str, ...] = ()
    allow_holes: tuple[str, ...] = ()
    administrators: tuple[str, ...] = ("admin",)
    reviewers: tuple[str, ...] = ()
    auditors: tuple[str, ...] = ()
    submitters: tuple[str, ...] = ()
    trusted_proxies: TrustedProxies = TrustedProxies()
    routes: tuple[Route, ...] = field(default_factory=lambda: (Route(),))


def read_settings(configuration: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings in Orthanc's whole `configuration`, with `environment` on top.

    Raises ConfigurationError for an unknown key, a wrong type, or a value that cannot work; the message
    names the key.
    """
    section = configuration.get(SECTION, {})
    if not isinstance(section, dict):
        raise ConfigurationError(f'"{SECTION}" must be a JSON object')
    merged = _overlay(section, environment)
    values = _read_object(merged, Settings, SECTION, skip=("routes", "trusted_proxies"))
    if "TrustedProxies" in merged:
        values["trusted_proxies"] = _read_proxies(merged["TrustedProxies"])
    routes = merged.get("Routes")
    if routes is not None:
        if not isinstance(routes, dict):
            raise ConfigurationError(f'"{SECTION}.Routes" must be a JSON object of routes by name')
        values["routes"] = tuple(_read_route(name, route) for name, route in routes.items())
    settings = Settings(**values)
    _check(settings)
    _check_roots(settings, configuration)
    return settings


def _read_route(name: str, section: Any) -> Route:
    path = f"{SECTION}.Routes.{name}"
    if not isinstance(section, dict):
        raise ConfigurationError(f'"{path}" must be a JSON object')
    return Route(name=name, **_read_object(section, Route, path, skip=("name",)))


def _read_proxies(section: Any) -> TrustedProxies:
    path = f"{SECTION}.TrustedProxies"
    if not isinstance(section, dict):
        raise ConfigurationError(f'"{path}" must be a JSON object')
    proxies = TrustedProxies(**_read_object(section, TrustedProxies, path, skip=()))
    for address in proxies.addresses:
        try:
            network = ipaddress.ip_network(address)
        except ValueError as problem:
            raise ConfigurationError(
                f'"{path}.Addresses" names {address!r}, which is no address and no network: {problem}'
            ) from problem
        if network.prefixlen == 0:
            raise ConfigurationError(
                f'"{path}.Addresses" names {address!r}: everybody could say to be anybody; name your proxies'
            )
    headers = (proxies.user_header, proxies.groups_header)
    taken = ("authorization", TOKEN_HEADER.lower())
    if any(not _HEADER.fullmatch(name) or name.lower() in taken for name in headers):
        raise ConfigurationError(f'"{path}" must name headers of its own, such as "X-Forwarded-User"')
    if headers[0].lower() == headers[1].lower():
        raise ConfigurationError(f'"{path}" names the same header for user and groups')
    return proxies


def _read_object(section: Mapping[str, Any], kind: type, path: str, skip: tuple[str, ...]) -> dict[str, Any]:
    """The values of `section` for the fields of `kind`, each checked against the type of its default."""
    defaults = kind()
    known = {_camel(item.name): item.name for item in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in section.items():
        if key not in known or known[key] == "name":
            close = difflib.get_close_matches(key, known, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else f"; known keys: {', '.join(sorted(known))}"
            raise ConfigurationError(f'unknown key "{path}.{key}"{hint}')
        if known[key] not in skip:
            values[known[key]] = _coerce(value, getattr(defaults, known[key]), f"{path}.{key}")
    return values


def _coerce(value: Any, default: Any, path: str) -> Any:
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise ConfigurationError(f'"{path}" must be true or false')
    if isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ConfigurationError(f'"{path}" must be a whole number')
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ConfigurationError(f'"{path}" must be a list of strings')
    if isinstance(value, str):
        return value
    raise ConfigurationError(f'"{path}" must be a string')


def _check(settings: Settings) -> None:
    if settings.stamp not in _STAMPS:
        raise ConfigurationError(f'"{SECTION}.Stamp" must be one of {", ".join(_STAMPS)}')
    if settings.database_url and not settings.database_url.startswith("sqlite:"):
        raise ConfigurationError(
            f'"{SECTION}.DatabaseUrl" must be empty or start with "sqlite:"; others are not supported yet'
        )
    roots: set[str] = set()
    for route in settings.routes:
        path = f"{SECTION}.Routes.{route.name}"
        if not ROUTE_NAME.fullmatch(route.name):
            raise ConfigurationError(f'the name of "{path}" must be lower case letters, digits and hyphens')
        if not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", route.dicom_web_root):
            raise ConfigurationError(f'"{path}.DicomWebRoot" must be a path such as "/research/dicom-web"')
        if route.dicom_web_root in roots:
            raise ConfigurationError(f'"{path}.DicomWebRoot" is used by another route already')
        roots.add(route.dicom_web_root)
        if not 0 < route.dicom_port < 65536:
            raise ConfigurationError(f'"{path}.DicomPort" must lie between 1 and 65535')
        for title in (route.dicom_aet, *route.ae_titles):
            if not _AE_TITLE.fullmatch(title):
                raise ConfigurationError(f'"{path}" names an AE title that is not 1 to 16 plain characters')
        both = set(route.users) & set(settings.administrators)
        if both:
            raise ConfigurationError(
                f'"{path}.Users" and "{SECTION}.Administrators" both name {sorted(both)[0]!r}; '
                "a research user reaches nothing else, so give that person a second user name"
            )


def _check_roots(settings: Settings, configuration: Mapping[str, Any]) -> None:
    """A research root that overlaps a clinical path would let research users in there."""
    dicom_web = configuration.get("DicomWeb", {})
    clinical = [dicom_web.get("Root", "/dicom-web/"), dicom_web.get("WadoRoot", "/wado")]
    taken = {root.strip("/").split("/")[0] for root in (*clinical, *_CLINICAL_PATHS)}
    for route in settings.routes:
        if route.dicom_web_root.split("/")[1] in taken:
            raise ConfigurationError(
                f'"{SECTION}.Routes.{route.name}.DicomWebRoot" lies on a path of Orthanc itself; '
                'choose one of its own, such as "/research/dicom-web"'
            )


def _overlay(section: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """A copy of `section` with the values of `ORTHANC__PROVENANCE__…` variables set in it."""
    merged: dict[str, Any] = json.loads(json.dumps(section))
    if isinstance(merged.get("Routes"), dict):
        merged["Routes"] = _fold_routes(merged["Routes"])
    for name in sorted(environment):
        if not name.startswith(_ENVIRONMENT):
            continue
        target, parts = merged, name[len(_ENVIRONMENT) :].split("__")
        for depth, part in enumerate(parts[:-1]):
            # Names of routes are the site's own and lower case; all else is a CamelCase key.
            is_route = depth == 1 and parts[0] == "ROUTES"
            key = part.lower().replace("_", "-") if is_route else _camel(part.lower())
            nested = target.setdefault(key, {})
            if not isinstance(nested, dict):
                raise ConfigurationError(
                    f"the environment variable {name} names a key below {key!r}, no object"
                )
            target = nested
        target[_camel(parts[-1].lower())] = _environment_value(environment[name])
    return merged


def _fold_routes(routes: Mapping[str, Any]) -> dict[str, Any]:
    """`routes` with `Research` or `MyRoute` as `research` or `my-route`, on top of what is named so already.

    The orthancteam container image writes variables into the configuration with its own CamelCase names.
    """
    folded: dict[str, Any] = {}
    for name in sorted(routes, key=lambda name: name != name.lower()):
        key, route = name, routes[name]
        if re.fullmatch(r"[A-Za-z0-9]+", name):
            key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
        both = isinstance(route, dict) and isinstance(folded.get(key), dict)
        folded[key] = {**folded[key], **route} if both else route
    return folded


def _environment_value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if value is None else value


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
