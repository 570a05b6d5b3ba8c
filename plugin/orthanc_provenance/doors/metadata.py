"""WADO-RS: metadata, with places where to find what is too large for it (PS3.18 section 10.4.1.1.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from flask import Response

from ..config import Route
from ..dicom.dataset import Dataset
from ..dicom.scan import MAX_NESTED, scan_elements
from .dicom_json import dataset_json
from .dicom_xml import DICOM_XML, dataset_xml
from .leaving import Instance, Leaving, first
from .multipart import Multipart, Part
from .negotiate import accepted
from .place import service_url
from .qido_answer import choose
from .services import Services


class Metadata:
    """Answers the Retrieve Transactions of Metadata of one route."""

    def __init__(self, services: Services, route: Route) -> None:
        self._services = services
        self._route = route

    def retrieve(self, study: str, series: str = "", sop: str = "") -> Response:
        """All attributes of each instance, streamed one after the other, as DICOM JSON or XML."""
        media_type = choose(accepted())
        leaving = Leaving(self._services, self._services.gate.view(self._route), (study, series, sop))
        root = service_url(self._route.dicom_web_root)
        items = self._items(leaving, root)
        every = chain((first(items),), items)
        if media_type == DICOM_XML:
            message = Multipart((Part(DICOM_XML, dataset_xml(item)) for item in every), DICOM_XML)
            return Response(iter(message), content_type=message.media_type)
        return Response(_array(every), content_type=media_type)

    def _items(self, leaving: Leaving, root: str) -> Iterator[dict[str, Any]]:
        for instance in leaving.instances():
            yield _attributes(instance, root)
            del instance


def _attributes(instance: Instance, root: str) -> dict[str, Any]:
    """All attributes, those behind the pixels included; the pixels themselves are bulk data."""
    header = instance.header(MAX_NESTED)
    uids = instance.released
    place = f"{root}/studies/{uids.study_uid}/series/{uids.series_uid}/instances/{uids.sop_uid}/bulkdata/"
    behind = scan_elements(header.buffer, header.pixel_start, len(header.buffer), header.encoding).elements
    last = Dataset(header.buffer, behind, header.encoding, parent=header)
    return {**dataset_json(header, place), **dataset_json(last, place)}


def _array(items: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """A JSON array, item by item. An item that cannot be made raises: the array has no end then."""
    before = b"["
    for item in items:
        yield before + json.dumps(item).encode("ascii")
        before = b","
    yield b"]"
