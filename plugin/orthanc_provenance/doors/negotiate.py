"""Which representation a client accepts (PS3.18 section 8.7; RFC 9110 section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from flask import request
from werkzeug.exceptions import NotAcceptable
from werkzeug.http import parse_list_header

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
JSON = "application/json"
MULTIPART = "multipart/related"
OCTETS = "application/octet-stream"
ZIP = "application/zip"
JPEG, PNG = "image/jpeg", "image/png"
ANY = "*"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
# Many clients write type=application/dicom without the quotes that the slash demands.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"([^"]*)"|([^\s;"]*))')
_JPEG = "1.2.840.10008.1.2.4"
# The default of a media type comes first; image/x- are the names that the standard had before.
_FRAMES = {
    JPEG: tuple(f"{_JPEG}.{number}" for number in (70, 50, 51, 57)),
    "image/dicom-rle": ("1.2.840.10008.1.2.5",),
    "image/x-dicom-rle": ("1.2.840.10008.1.2.5",),
    "image/jls": tuple(f"{_JPEG}.{number}" for number in (80, 81)),
    "image/x-jls": tuple(f"{_JPEG}.{number}" for number in (80, 81)),
    "image/jp2": tuple(f"{_JPEG}.{number}" for number in (90, 91)),
    "image/jpx": tuple(f"{_JPEG}.{number}" for number in (92, 93)),
    "image/jphc": tuple(f"{_JPEG}.{number}" for number in (201, 202, 203)),
    "image/jxl": tuple(f"{_JPEG}.{number}" for number in (110, 111, 112)),
    "video/mpeg": tuple(f"{_JPEG}.{number}" for number in (100, 101)),
    "video/mp4": tuple(f"{_JPEG}.{number}" for number in (102, 103, 104, 105, 106)),
}
# A blank between characters that are no separators of an Accept header.
_BLANK = re.compile(r'(?<=[^\s,;="]) (?=[^\s,;="])')


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header: lower-case `media_type`, its parameters, and its weight.

    `refused` is what other entries refuse (`q=0`), multipart also as `multipart/related;TYPE`.
    """

    media_type: str
    parameters: Mapping[str, str]
    quality: float
    refused: frozenset[str] = frozenset()

    def takes(self, media_type: str, of: str = "") -> bool:
        """Whether this is `media_type`, or has it in its range and no other entry refuses it.

        `of` is the type of the parts where it is multipart.
        """
        if self.media_type == media_type:
            return True
        every = _range(media_type)
        refusals = {media_type, every, f"{media_type};{of}"}
        return self.media_type in ("*/*", every) and not refusals & self.refused


class Form(Enum):
    """How an answer is put together."""

    PARTS = MULTIPART
    SINGLE = "single"
    ZIPPED = ZIP


@dataclass(frozen=True, slots=True)
class Wish:
    """A transfer syntax that a client takes, `*` for whatever is stored, in a media type, by its weight."""

    syntax: str
    quality: float
    media_type: str = DICOM


@dataclass(frozen=True, slots=True)
class Representation:
    """The form of an answer, and what may be in it."""

    form: Form
    wishes: tuple[Wish, ...]

    @property
    def is_open(self) -> bool:
        """Whether whatever is stored will do, if nothing better can be had."""
        return any(wish.syntax == ANY for wish in self.wishes)

    def preferred(self, stored: str) -> list[Wish]:
        """The wishes for an object stored in a syntax, best first; among equals what is stored already."""
        return sorted(self.wishes, key=lambda wish: (-wish.quality, wish.syntax not in (stored, ANY)))


def accepted() -> list[MediaRange]:
    """What the current client accepts; the query parameter wins over the header (PS3.18 8.3.3.1).

    A plus sign that is not encoded in a URL arrives as a blank, which no media type has in it.
    """
    parameter = _BLANK.sub("+", request.args.get("accept", ""))
    return media_ranges(parameter or request.headers.get("Accept", ""))


def media_ranges(header: str) -> list[MediaRange]:
    """The entries of an Accept header, best first, refused ones (`q=0`) left out; all of it where empty."""
    found, refused = [], set()
    for entry in parse_list_header(header or "*/*"):
        media_type, _, rest = entry.partition(";")
        parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(f";{rest}")}
        quality, media_type = _quality(parameters.pop("q", "1")), media_type.strip().lower()
        if quality > 0:
            found.append(MediaRange(media_type, parameters, quality))
        elif "transfer-syntax" not in parameters:
            parts = parameters.get("type", "").lower()
            refused.add(f"{media_type};{parts}" if parts else media_type)
    found = [replace(item, refused=frozenset(refused)) for item in found]
    return sorted(found, key=lambda item: -item.quality)


def choose_dicom(ranges: list[MediaRange], *, single: bool) -> Representation:
    """How to send instances; as one file only where `single`, for which the client must name it.

    A range without transfer-syntax means Explicit VR Little Endian (PS3.18 section 8.7.3.5.2), and whatever
    is stored where that cannot be had: nobody has insisted on it. Raises NotAcceptable.
    """
    offered = [(item, form) for item in ranges if (form := _form(item, single)) is not None]
    if not offered:
        other = DICOM if single else ZIP
        raise NotAcceptable(
            f'this resource is served as {MULTIPART}; type="{DICOM}" or {other}; '
            f'send Accept: {MULTIPART}; type="{DICOM}"; transfer-syntax=*'
        )
    form = offered[0][1]
    return Representation(form, tuple(_wishes(item for item, other in offered if other is form)))


def choose_picture(ranges: list[MediaRange], *, single: bool) -> tuple[Form, str]:
    """How to send pictures, and as which of image/jpeg and image/png (PS3.18 section 8.7.4).

    More than one always come in parts. Raises NotAcceptable.
    """
    for item in ranges:
        in_parts = item.media_type in (MULTIPART, "multipart/*")
        wanted = _picture(item, item.parameters.get("type", "*/*").lower() if in_parts else item.media_type)
        if wanted is not None:
            return Form.SINGLE if single and not in_parts else Form.PARTS, wanted
    raise NotAcceptable(f"this resource is served as {JPEG} and {PNG}; send Accept: {JPEG}")


def choose_frames(ranges: list[MediaRange], *, single: bool) -> Representation:
    """How to send frames, or pixels as bulk data (PS3.18 section 8.7.3.3); as they are only where `single`.

    Without a transfer syntax, application/octet-stream is Explicit VR Little Endian, and a compressed type
    any of its syntaxes. Raises NotAcceptable.
    """
    wishes: dict[Form, list[Wish]] = {}
    for item in ranges:
        parts = item.media_type in (MULTIPART, "multipart/*", "*/*")
        media_type = item.parameters.get("type", "*/*").lower() if parts else item.media_type
        form = Form.SINGLE if single and not parts else Form.PARTS
        wishes.setdefault(form, []).extend(_frame_wishes(media_type, item))
    for form, found in wishes.items():
        if found:
            return Representation(form, tuple(found))
    raise NotAcceptable(
        f'this resource is served as {MULTIPART}; type="{OCTETS}", and as the media type it is stored in; '
        f'send Accept: {MULTIPART}; type="{OCTETS}"; transfer-syntax=*'
    )


def frame_type(syntax: str) -> str:
    """The media type of one frame in a transfer syntax (PS3.18 table 8.7.3-5)."""
    return next((media_type for media_type, some in _FRAMES.items() if syntax in some), OCTETS)


def _frame_wishes(media_type: str, item: MediaRange) -> Iterable[Wish]:
    asked = item.parameters.get("transfer-syntax", "")
    is_octets = media_type in (OCTETS, "application/*", "*/*")
    if is_octets and (media_type == OCTETS or not {OCTETS, "application/*"} & item.refused):
        yield Wish(asked or EXPLICIT_LITTLE, item.quality, OCTETS)
        if media_type == "*/*" and not asked:
            yield Wish(ANY, 0.0, OCTETS)
        return
    for name, syntaxes in _FRAMES.items():
        if media_type == name or (media_type in (_range(name), "*/*") and name not in item.refused):
            for syntax in syntaxes:
                if asked in ("", ANY, syntax):
                    yield Wish(syntax, item.quality, name)


def _picture(item: MediaRange, media_type: str) -> str | None:
    asked = replace(item, media_type=JPEG if media_type == "image/jpg" else media_type)
    return next((served for served in (JPEG, PNG) if asked.takes(served)), None)


def _range(media_type: str) -> str:
    return f"{media_type.partition('/')[0]}/*"


def _form(item: MediaRange, single: bool) -> Form | None:
    """What `item` asks for; None where it is nothing that instances are sent as."""
    if item.media_type == MULTIPART:
        wanted = item.parameters.get("type", DICOM).lower()
        return Form.PARTS if wanted in (DICOM, "application/*", "*/*") else None
    if item.takes(MULTIPART, DICOM):
        return Form.PARTS
    if single and item.takes(DICOM):
        return Form.SINGLE
    return Form.ZIPPED if item.takes(ZIP) else None


def _wishes(items: Iterable[MediaRange]) -> Iterable[Wish]:
    for item in items:
        syntax = item.parameters.get("transfer-syntax", "")
        yield Wish(syntax or EXPLICIT_LITTLE, item.quality)
        if not syntax:
            yield Wish(ANY, 0.0)


def _quality(text: str) -> float:
    """The weight; one that cannot be read counts as refused."""
    try:
        return min(float(text), 1.0)
    except ValueError:
        return 0.0
