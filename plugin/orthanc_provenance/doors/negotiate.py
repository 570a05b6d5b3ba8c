"""Which representation a client accepts (PS3.18 section 8.7; RFC 9110 section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from werkzeug.exceptions import NotAcceptable
from werkzeug.http import parse_list_header

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
JSON = "application/json"
MULTIPART = "multipart/related"
# Many clients write type=application/dicom without the quotes that the slash demands.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"([^"]*)"|([^\s;"]*))')


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header: lower-case `media_type`, its parameters, and its weight."""

    media_type: str
    parameters: Mapping[str, str]
    quality: float


@dataclass(frozen=True, slots=True)
class Representation:
    """How instances are sent: in parts or as one file, and in which of `syntaxes` (empty: as stored)."""

    multipart: bool
    syntaxes: frozenset[str] = frozenset()


def media_ranges(header: str) -> list[MediaRange]:
    """The entries of an Accept header, best first, refused ones (`q=0`) left out; all of it where empty."""
    found = []
    for entry in parse_list_header(header or "*/*"):
        media_type, _, rest = entry.partition(";")
        parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(f";{rest}")}
        quality = _quality(parameters.pop("q", "1"))
        if quality > 0:
            found.append(MediaRange(media_type.strip().lower(), parameters, quality))
    return sorted(found, key=lambda item: -item.quality)


def choose_json(ranges: list[MediaRange]) -> str:
    """The JSON media type to answer with. Raises NotAcceptable where the client takes none."""
    for item in ranges:
        if item.media_type in (DICOM_JSON, "application/*", "*/*"):
            return DICOM_JSON
        if item.media_type == JSON:
            return JSON
    raise NotAcceptable(f"this resource is served as {DICOM_JSON}; send Accept: {DICOM_JSON}")


def choose_dicom(ranges: list[MediaRange], *, single: bool) -> Representation:
    """How to send instances; as one file only where `single`, for which the client must name it.

    The default of a range without a transfer-syntax parameter is "as stored", not Explicit VR Little Endian
    as in PS3.18 section 8.7.3.5.2: nothing is transcoded here. Raises NotAcceptable.
    """
    offered = [(item, form) for item in ranges if (form := _form(item, single)) is not None]
    if not offered:
        one = f" or {DICOM}" if single else ""
        raise NotAcceptable(
            f'this resource is served as {MULTIPART}; type="{DICOM}"{one}; '
            f'send Accept: {MULTIPART}; type="{DICOM}"; transfer-syntax=*'
        )
    multipart = offered[0][1]
    syntaxes = {item.parameters.get("transfer-syntax", "*") for item, form in offered if form is multipart}
    return Representation(multipart, frozenset() if "*" in syntaxes else frozenset(syntaxes))


def _form(item: MediaRange, single: bool) -> bool | None:
    """Whether `item` asks for parts (True) or one file (False); None where it asks for something else."""
    if item.media_type in ("*/*", "multipart/*"):
        return True
    if item.media_type == MULTIPART:
        wanted = item.parameters.get("type", DICOM).lower()
        return True if wanted in (DICOM, "application/*", "*/*") else None
    return False if single and item.media_type == DICOM else None


def _quality(text: str) -> float:
    """The weight; one that cannot be read counts as refused."""
    try:
        return min(float(text), 1.0)
    except ValueError:
        return 0.0
