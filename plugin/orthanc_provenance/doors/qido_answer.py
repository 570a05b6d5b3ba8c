"""QIDO-RS: what was found, as PS3.18 tables 10.6.3-3 to 10.6.3-5 want it, with its provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response, request
from pydicom.datadict import dictionary_VR
from werkzeug.exceptions import NotAcceptable

from ..gate import View
from ..index.query import COLUMNS, Level
from ..index.record import REQUEST_ATTRIBUTES, read_requests
from ..index.released import Kind, Summary
from ..index.search import Found
from ..stamp.block import (
    CREATOR,
    DECLARATION_URI,
    DEFACED,
    GENERATOR,
    GROUP,
    IDENTITY_REMOVED,
    NO_PRIVACY,
    ORIGIN,
    PRIVACY,
    STATE,
)
from .dicom_json import attribute
from .dicom_xml import DICOM_XML, dataset_xml
from .multipart import Multipart, Part
from .negotiate import DICOM_JSON, JSON, MULTIPART, MediaRange, accepted
from .qido import MAX_LIMIT, SYNTHETIC_DATA, TAGS, Asked, private_tag, read_query

TOTAL = "X-Total-Count"
_NOT_LITERAL = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
_MORE = f"There are additional results that can be requested, at most {MAX_LIMIT} at once."
_STUDY = frozenset(
    (
        *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID"),
        *("PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDescription"),
        *("TimezoneOffsetFromUTC", "ModalitiesInStudy"),
    )
)
_SERIES = frozenset(
    (
        *("Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "TimezoneOffsetFromUTC"),
        *("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "RequestAttributesSequence"),
    )
)
_INSTANCE = frozenset(
    (
        *("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "NumberOfFrames", "Rows", "Columns"),
        *("BitsAllocated", "TimezoneOffsetFromUTC"),
    )
)
_ANYHOW = (_STUDY, _SERIES, _INSTANCE)
# Shown with a value only: they are wanted "if known" or "if present", all others always.
_OPTIONAL = frozenset(TAGS) - {
    *(_STUDY - {"TimezoneOffsetFromUTC"}),
    *("Modality", "SeriesInstanceUID", "SeriesNumber", "SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
}
_VRS = {keyword: dictionary_VR(tag) for keyword, tag in TAGS.items()}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_FOLDERS = ("studies", "series", "instances")


def search(view: View, level: Level, path: Mapping[str, str], root: str) -> Response:
    """Answer the current request, a Search Transaction (PS3.18 section 10.6), from what `view` lets out.

    `path` are the UIDs in its path by keyword, `root` is the URL of the service. Raises BadRequest,
    NotAcceptable and IndexUnavailable.
    """
    media_type = choose(accepted())
    asked = read_query(level, request.args.items(multi=True), path)
    found, total = view.search(asked.query)
    limit = asked.query.limit
    wanted = _wanted(asked)
    shown = [answer(level, one, wanted, root) for one in found[:limit]]
    response = _written(shown, media_type)
    if total is not None:
        response.headers[TOTAL] = str(total)
    if asked.fuzzy:
        _warn(response, _NOT_LITERAL)
    if len(found) > limit:
        _warn(response, _MORE)
    return response


def choose(ranges: list[MediaRange]) -> str:
    """The media type to answer with (PS3.18 section 10.6.4). Raises NotAcceptable."""
    for item in ranges:
        for media_type in (DICOM_JSON, JSON, DICOM_XML):
            if item.takes(media_type):
                return media_type
        if item.takes(MULTIPART, DICOM_XML) and item.parameters.get("type", DICOM_XML).lower() == DICOM_XML:
            return DICOM_XML
    raise NotAcceptable(
        f'this resource is served as {DICOM_JSON}, {JSON} and {MULTIPART}; type="{DICOM_XML}"; '
        f"send Accept: {DICOM_JSON}"
    )


def _written(shown: list[dict[str, Any]], media_type: str) -> Response:
    if media_type != DICOM_XML:
        return Response(json.dumps(shown), content_type=media_type)
    message = Multipart((Part(DICOM_XML, dataset_xml(one)) for one in shown), DICOM_XML)
    return Response(iter(message), content_type=message.media_type)


def answer(level: Level, found: Found, wanted: Mapping[str, str], root: str) -> dict[str, Any]:
    """One match in the DICOM JSON Model; `wanted` are keywords with their tags, `root` the service's URL."""
    depth = tuple(Level).index(level)
    shown = {
        tag: value for keyword, tag in wanted.items() if (value := _attribute(keyword, found)) is not None
    }
    shown["00080005"] = attribute("CS", ["ISO_IR 192"])
    if depth != 1:
        shown["00080056"] = attribute("CS", ["ONLINE"])
    places = (f"/{folder}/{found[uid]}" for folder, uid in zip(_FOLDERS, _UIDS[: depth + 1], strict=False))
    shown["00081190"] = attribute("UR", [f"{root}{''.join(places)}"])
    shown["00201206"] = attribute("IS", [str(found.study.series_count)])
    shown["00201208"] = attribute("IS", [str(found.study.instance_count)])
    if depth > 0:
        shown["00201209"] = attribute("IS", [str(found.series_instances)])
    return dict(sorted({**shown, **_provenance(found.summary)}.items()))


def _wanted(asked: Asked) -> dict[str, str]:
    """The keywords to show, with their tags: those of the level and all above it, and what is asked for."""
    depth = tuple(Level).index(asked.query.level)
    wanted = {keyword for level in _ANYHOW[: depth + 1] for keyword in level}
    wanted |= set(asked.query.matches)
    if asked.all_fields:
        wanted |= TAGS.keys()
    if wanted & REQUEST_ATTRIBUTES.keys():
        wanted.add("RequestAttributesSequence")
    wanted -= REQUEST_ATTRIBUTES.keys()
    return {keyword: f"{TAGS[keyword]:08X}" for keyword in wanted if COLUMNS.get(keyword, 3) <= depth}


def _attribute(keyword: str, found: Found) -> dict[str, Any] | None:
    """The attribute; None where it is not shown without a value and has none."""
    if keyword == "RequestAttributesSequence":
        items = [_item(values) for values in read_requests(found[keyword])]
        return {"vr": "SQ", "Value": items} if items else None
    if keyword == "ModalitiesInStudy":
        return attribute("CS", found.study.terms.get(Kind.MODALITY, ()))
    text = found[keyword]
    if not text and keyword in _OPTIONAL:
        return None
    return attribute(_VRS[keyword], text.split("\\") if "\\" in text else (text,))


def _item(values: list[str]) -> dict[str, Any]:
    tags = REQUEST_ATTRIBUTES.values()
    return {f"{tag:08X}": attribute("SH", [value]) for tag, value in zip(tags, values, strict=True)}


def _provenance(summary: Summary) -> dict[str, Any]:
    """SyntheticData, and our private block as a stamp has it, with all values there are below."""
    terms = summary.terms
    flags = ((Kind.IDENTITY_REMOVED, IDENTITY_REMOVED), (Kind.DEFACED, DEFACED))
    privacy = tuple(word for kind, word in flags if terms.get(kind) == ("YES",))
    values = {
        STATE: terms.get(Kind.STATE, ()),
        ORIGIN: terms.get(Kind.ORIGIN, ()),
        PRIVACY: privacy or (NO_PRIVACY,),
        GENERATOR: terms.get(Kind.GENERATOR, ()),
        DECLARATION_URI: terms.get(Kind.DECLARATION, ()),
    }
    block = {
        f"{private_tag(element):08X}": attribute(element.vr.decode("ascii"), some)
        for element, some in values.items()
        if some
    }
    return {
        f"{SYNTHETIC_DATA:08X}": attribute("CS", terms[Kind.SYNTHETIC]),
        f"{GROUP << 16 | 0x10:08X}": attribute("LO", [CREATOR]),
        **block,
    }


def _warn(response: Response, text: str) -> None:
    """A warning as PS3.18 section 8.3.4.5 words it: about what the answer is not."""
    response.headers.add("Warning", f'299 orthanc-provenance "{text}"')
