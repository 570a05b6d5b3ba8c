"""A host in memory that behaves as Orthanc does where the plugin can tell: for tests, and for speed.

It calls the registered callbacks in Orthanc's order and on the calling thread, falls back to the received
bytes when one raises, and answers the few REST paths that `host.archive` asks for. It proves nothing about
Orthanc.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from ..dicom.header import read_header
from ..index.record import (
    INSTANCE_ATTRIBUTES,
    SERIES_ATTRIBUTES,
    STUDY_ATTRIBUTES,
    STUDY_UID,
    attributes,
    orthanc_identifiers,
)

Callback = Callable[..., Any]
_MAIN_TAGS = {"instances": INSTANCE_ATTRIBUTES, "series": SERIES_ATTRIBUTES, "studies": STUDY_ATTRIBUTES}


class OrthancException(Exception):  # noqa: N818 - Orthanc's own name
    """What the host raises where a REST path does not answer."""


class ReceivedInstanceAction(IntEnum):
    """As in the `orthanc` module."""

    KEEP_AS_IS = 1
    MODIFY = 2
    DISCARD = 3


class InstanceOrigin(IntEnum):
    """As in the `orthanc` module."""

    DICOM_PROTOCOL = 2
    REST_API = 3
    PLUGIN = 4
    LUA = 5


class ChangeType(IntEnum):
    """As in the `orthanc` module, as far as the plugin looks at it."""

    DELETED = 1
    ORTHANC_STARTED = 10
    ORTHANC_STOPPED = 11


class ResourceType(IntEnum):
    """As in the `orthanc` module, as far as the plugin looks at it."""

    INSTANCE = 3


class HttpMethod(IntEnum):
    """As in the `orthanc` module."""

    GET = 1
    POST = 2
    PUT = 3
    DELETE = 4


class FakeOrthanc:
    """Stands for the `orthanc` module. `files` holds what is stored, by Orthanc identifier."""

    OrthancException = OrthancException
    ReceivedInstanceAction = ReceivedInstanceAction
    InstanceOrigin = InstanceOrigin
    ChangeType = ChangeType
    ResourceType = ResourceType
    HttpMethod = HttpMethod
    ValueRepresentation = IntEnum("ValueRepresentation", "CS LO OB UN UT")
    RestOutput = type("RestOutput", (), {"StartStreamAnswer": None})

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._configuration = configuration
        self._callbacks: dict[str, Callback] = {}
        self._metadata: dict[str, dict[str, str]] = {}
        self._labels: dict[str, set[str]] = {}
        self._log: list[str] = []
        self._changes: list[str] = []
        self.files: dict[str, bytes] = {}

    def __getattr__(self, name: str) -> Callback:
        """`RegisterX` remembers its last argument under X; `LogX` remembers the line."""
        if name.startswith("Register"):
            return lambda *arguments: self._callbacks.__setitem__(name[8:], arguments[-1])
        if name.startswith("Log"):
            return self._log.append
        raise AttributeError(name)

    @property
    def log(self) -> str:
        """All that was logged."""
        return "\n".join(self._log)

    def GetConfiguration(self) -> str:  # noqa: N802 - Orthanc's own name
        """The whole configuration."""
        return json.dumps(self._configuration)

    def CheckVersionAdvanced(self, *_version: int) -> int:  # noqa: N802 - Orthanc's own name
        """Whether this host is as new as asked for: it always is."""
        return 1

    def start(self) -> None:
        """Tell the plugin that the host has started."""
        self._callbacks["OnChangeCallback"](ChangeType.ORTHANC_STARTED, -1, "")

    def stop(self) -> None:
        """Tell the plugin that the host stops."""
        self._callbacks["OnChangeCallback"](ChangeType.ORTHANC_STOPPED, -1, "")

    def allows(self, uri: str, method: int = HttpMethod.GET, **headers: str) -> bool:
        """Pass an HTTP request through the filter."""
        filtered = self._callbacks["IncomingHttpRequestFilter"]
        return bool(filtered(uri, method=method, ip="127.0.0.1", headers=headers))

    def receive(self, data: bytes, origin: int = InstanceOrigin.DICOM_PROTOCOL) -> tuple[int, bytes]:
        """Ask the plugin what to store for `data`: the action, and the bytes where that is MODIFY."""
        action, replaced = self._callbacks["ReceivedInstanceCallback"](data, origin)
        return int(action), replaced

    def store(self, data: bytes, origin: int = InstanceOrigin.DICOM_PROTOCOL, **metadata: str) -> str:
        """Store an instance as a sender would; gives Orthanc's identifier. `metadata` is that of a job."""
        stored = data
        try:
            action, replaced = self.receive(data, origin)
            if action == ReceivedInstanceAction.MODIFY:
                stored, metadata = replaced, {}
        # Orthanc fails open: whatever a callback raises, it stores what it received.
        except BaseException as problem:  # noqa: BLE001
            self._log.append(f"the callback raised {problem!r}")
        instance = orthanc_identifiers(read_header(stored)).instance
        self.files[instance] = stored
        self._metadata[instance] = dict(metadata)
        self._changes.append(instance)
        self._callbacks["OnStoredInstanceCallback"](None, instance)
        return instance

    def delete(self, instance: str) -> None:
        """Delete an instance."""
        del self.files[instance]
        self._callbacks["OnChangeCallback"](ChangeType.DELETED, ResourceType.INSTANCE, instance)

    def labels(self, level: str, resource: str) -> set[str]:
        """The labels of a resource."""
        return self._labels.get(f"{level}/{resource}", set())

    def RestApiPut(self, path: str, value: bytes) -> bytes:  # noqa: N802 - Orthanc's own name
        """Add a label or metadata."""
        level, resource, kind, name = path.strip("/").split("/")
        if kind == "labels":
            self._labels.setdefault(f"{level}/{resource}", set()).add(name)
        else:
            self._metadata.setdefault(resource, {})[name] = value.decode()
        return b""

    def RestApiPost(self, path: str, body: bytes) -> bytes:  # noqa: N802 - Orthanc's own name
        """Answer a search for studies by UID. Raises OrthancException for any other path."""
        if path != "/tools/find":
            raise OrthancException("unknown resource")
        wanted = json.loads(body)["Query"]["StudyInstanceUID"]
        headers = {instance: read_header(data) for instance, data in self.files.items()}
        found = {
            self._ids(each).study for each, header in headers.items() if header.text(STUDY_UID) == wanted
        }
        return json.dumps(sorted(found)).encode()

    def RestApiDelete(self, path: str) -> bytes:  # noqa: N802 - Orthanc's own name
        """Remove a label."""
        level, resource, _, name = path.strip("/").split("/")
        self._labels.get(f"{level}/{resource}", set()).discard(name)
        return b""

    def GetDicomForInstance(self, instance: str) -> bytes:  # noqa: N802 - Orthanc's own name
        """The stored bytes of an instance. Raises OrthancException where there is none."""
        if instance not in self.files:
            raise OrthancException("unknown resource")
        return self.files[instance]

    def RestApiGet(self, path: str) -> bytes:  # noqa: N802 - Orthanc's own name
        """Answer one of the paths that the plugin asks for. Raises OrthancException for any other."""
        where, _, arguments = path.strip("/").partition("?")
        parts = where.split("/")
        if parts[0] == "instances" and parts[-1] == "file" and parts[1] in self.files:
            return self.files[parts[1]]
        return json.dumps(self._answer(parts, arguments)).encode()

    def _answer(self, parts: list[str], arguments: str) -> Any:
        if parts == ["statistics"]:
            return {"CountInstances": len(self.files)}
        if parts == ["changes"]:
            return self._change_page(arguments)
        if parts == ["studies"]:
            since = int(dict(part.split("=") for part in arguments.split("&"))["since"])
            return sorted({self._ids(instance).study for instance in self.files})[since:]
        if len(parts) == 3 and parts[2] == "labels":
            return sorted(self.labels(parts[0], parts[1]))
        return self._resource(*parts)

    def _resource(self, level: str, resource: str, view: str = "") -> Any:
        inside = {
            instance: self._ids(instance)
            for instance in self.files
            if resource in (instance, self._ids(instance).series, self._ids(instance).study)
        }
        if not inside:
            raise OrthancException("unknown resource")
        first = next(iter(inside.values()))
        if view == "study":
            return {"ID": first.study}
        if view == "metadata":
            return self._metadata[resource]
        answer: dict[str, Any] = {
            "instances": {"ParentSeries": first.series},
            "series": {"ParentStudy": first.study, "Instances": list(inside)},
            "studies": {
                "Series": sorted({ids.series for ids in inside.values()}),
                "PatientMainDicomTags": {},
            },
        }[level]
        header = read_header(self.files[first.instance])
        return {**answer, "MainDicomTags": attributes(header, _MAIN_TAGS[level])}

    def _change_page(self, arguments: str) -> dict[str, Any]:
        last = len(self._changes)
        if arguments == "last":
            return {"Last": last}
        since = int(dict(part.split("=") for part in arguments.split("&"))["since"])
        listed = [{"ID": instance, "ChangeType": "NewInstance"} for instance in self._changes[since:]]
        return {"Changes": listed, "Last": last, "Done": True}

    def _ids(self, instance: str) -> Any:
        return orthanc_identifiers(read_header(self.files[instance]))
