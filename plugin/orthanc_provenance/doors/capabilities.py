"""What a research root offers, for programs (PS3.18 section 8.9): WADL, or the same as JSON.

Orthanc answers OPTIONS itself, so that this is what GET of the root gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from flask import Response
from werkzeug.exceptions import NotAcceptable

from .dicom_xml import DICOM_XML
from .negotiate import DICOM, DICOM_JSON, JPEG, JSON, OCTETS, PNG, ZIP, accepted
from .place import service_url

WADL = "application/vnd.sun.wadl+xml"
_NAMESPACE = "http://wadl.dev.java.net/2009/02"
_STUDY, _SERIES, _INSTANCE = (
    "studies/{study}",
    "studies/{study}/series/{series}",
    "studies/{study}/series/{series}/instances/{instance}",
)
_RELATED = "multipart/related; type={}"
_QUERY = ("limit", "offset", "includefield", "fuzzymatching", "accept")
_PICTURE = ("window", "viewport", "quality", "accept")
_FOUND = (DICOM_JSON, JSON, _RELATED.format(DICOM_XML))
_OBJECTS = (_RELATED.format(DICOM), ZIP)
_PIXELS = (_RELATED.format(OCTETS), OCTETS)

Resource = tuple[str, str, tuple[str, ...], tuple[str, ...]]
RESOURCES: tuple[Resource, ...] = (
    *(
        (path, "Search", _QUERY, _FOUND)
        for path in (
            *("studies", "series", "instances", f"{_STUDY}/series", f"{_STUDY}/instances"),
            f"{_SERIES}/instances",
        )
    ),
    (_STUDY, "Retrieve", ("accept",), _OBJECTS),
    (_SERIES, "Retrieve", ("accept",), _OBJECTS),
    (_INSTANCE, "Retrieve", ("accept",), (*_OBJECTS, DICOM)),
    *((f"{path}/metadata", "RetrieveMetadata", ("accept",), _FOUND) for path in (_STUDY, _SERIES, _INSTANCE)),
    (f"{_INSTANCE}/frames/{{frames}}", "RetrieveFrames", ("accept",), _PIXELS),
    (f"{_INSTANCE}/bulkdata/{{path}}", "RetrieveBulkdata", ("accept",), _PIXELS),
    *(
        (f"{path}/{what}", f"Retrieve{what.capitalize()}", _PICTURE, (JPEG, PNG))
        for path in (_STUDY, _SERIES, _INSTANCE, f"{_INSTANCE}/frames/{{frames}}")
        for what in ("rendered", "thumbnail")
    ),
    (
        "wado",
        "RetrieveURI",
        ("requestType", "studyUID", "seriesUID", "objectUID", "contentType"),
        (DICOM, JPEG, PNG),
    ),
)
"""Path, transaction, query parameters and media types of every resource below a root."""


def capabilities(root: str) -> Response:
    """The answer to a Retrieve Capabilities request. Raises NotAcceptable."""
    for item in accepted():
        if item.takes(JSON):
            return Response(json.dumps(_as_json(root)), content_type=JSON)
        for media_type in (WADL, "application/xml"):
            if item.takes(media_type):
                return Response(_as_wadl(root), content_type=media_type)
    raise NotAcceptable(f"the capabilities are served as {JSON} and {WADL}")


def capabilities_of(prefix: str) -> Response:
    """The capabilities of the service whose root has this path on the current host."""
    return capabilities(service_url(prefix))


def _as_json(root: str) -> Mapping[str, Any]:
    return {
        "service": root,
        "resources": [
            {"path": path, "transaction": name, "methods": ["GET"], "parameters": parameters, "types": types}
            for path, name, parameters, types in RESOURCES
        ],
    }


def _as_wadl(root: str) -> bytes:
    document = Element("application", {"xmlns": _NAMESPACE})
    resources = SubElement(document, "resources", base=f"{root}/")
    for path, name, parameters, types in RESOURCES:
        resource = SubElement(resources, "resource", path=path)
        method = SubElement(resource, "method", name="GET", id=f"{name}:{path}")
        asked = SubElement(method, "request")
        for parameter in parameters:
            SubElement(asked, "param", name=parameter, style="query")
        given = SubElement(method, "response", status="200")
        for media_type in types:
            SubElement(given, "representation", mediaType=media_type)
    return bytes(tostring(document, encoding="UTF-8", xml_declaration=True))
