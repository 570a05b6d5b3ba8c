"""Which representation a client accepts (PS3.18 section 8.7; RFC 9110 section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
_PICTURES = {JPEG: JPEG, "image/jpg": JPEG, PNG: PNG, "image/*": JPEG, "*/*": JPEG}


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header: lower-case `media_type`, its parameters, and its weight."""

    media_type: str
    parameters: Mapping[str, str]
    quality: float


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
    """What the current client accepts; the query parameter wins over the header (PS3.18 8.3.3.1)."""
    return media_ranges(request.args.get("accept") or request.headers.get("Accept", ""))


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
        if item.media_type in (MULTIPART, "multipart/*"):
            wanted = _PICTURES.get(item.parameters.get("type", "*/*").lower())
            if wanted is not None:
                return Form.PARTS, wanted
        elif item.media_type in _PICTURES:
            return Form.SINGLE if single else Form.PARTS, _PICTURES[item.media_type]
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
    if media_type in (OCTETS, "application/*", "*/*"):
        yield Wish(asked or EXPLICIT_LITTLE, item.quality, OCTETS)
        if media_type == "*/*" and not asked:
            yield Wish(ANY, 0.0, OCTETS)
        return
    for name, syntaxes in _FRAMES.items():
        if media_type in (name, f"{name.partition('/')[0]}/*"):
            for syntax in syntaxes:
                if asked in ("", ANY, syntax):
                    yield Wish(syntax, item.quality, name)


def _form(item: MediaRange, single: bool) -> Form | None:
    """What `item` asks for; None where it is nothing that instances are sent as."""
    if item.media_type in ("*/*", "multipart/*"):
        return Form.PARTS
    if item.media_type == MULTIPART:
        wanted = item.parameters.get("type", DICOM).lower()
        return Form.PARTS if wanted in (DICOM, "application/*", "*/*") else None
    if item.media_type == ZIP:
        return Form.ZIPPED
    return Form.SINGLE if single and item.media_type == DICOM else None


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
