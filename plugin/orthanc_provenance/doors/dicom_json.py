"""The DICOM JSON Model (PS3.18 annex F), from text values and from encoded Data Sets."""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Iterable
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from ..dicom.dataset import SPECIFIC_CHARACTER_SET, Dataset
from ..dicom.scan import LONG_VRS, MAX_DEPTH, PIXEL_GROUP, SHORT_VRS, Element, Tag

MAX_BINARY = 4096
_MAX_TEXT = 65536
_MAX_ITEMS = 1_000_000
_PIXEL_REPRESENTATION = 0x00280103
_PLAIN = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"))
_CODED = frozenset(("LO", "PN", "SH", "UC"))
_WHOLE = frozenset(("LT", "ST", "UR", "UT"))
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_BULK = _BINARY | frozenset(
    ("DS", "FL", "FD", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV")
)
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
# What is not written as the text that it is.
_WRITTEN = frozenset(("PN", "IS", "US", "DS"))
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,64}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def attribute(vr: str, texts: Iterable[str]) -> dict[str, Any]:
    """One attribute of a text `vr`, without Value where there is none; empty values become null (F.2.5)."""
    values = [_value(vr, text) for text in texts] if vr in _WRITTEN else [text or None for text in texts]
    return {"vr": vr} if values.count(None) == len(values) else {"vr": vr, "Value": values}


def dataset_json(dataset: Dataset, bulk: str = "") -> dict[str, Any]:
    """All attributes of `dataset`, Sequences included, text in UTF-8; of a header those before its pixels.

    Binary values above 4 KiB, text above 64 KiB, pixels in Items, and values that their VR does not allow,
    are bulk data: they get a URI that is `bulk` with the path of the attribute behind it, such as
    `00081140/1/00420011` (PS3.18 section F.2.6), and are left out where `bulk` is "". What has a VR that
    the standard knows no bulk data of is UN then (F.2.2; PS3.5 section 6.2.2). Left out are Sequences nested
    deeper than 32.
    """
    found = _dataset(dataset, bulk, signed=False, depth=0)
    if f"{SPECIFIC_CHARACTER_SET:08X}" in found:
        found[f"{SPECIFIC_CHARACTER_SET:08X}"] = attribute("CS", ["ISO_IR 192"])
    return found


def _dataset(dataset: Dataset, bulk: str, *, signed: bool, depth: int) -> dict[str, Any]:
    if _PIXEL_REPRESENTATION in dataset:
        signed = dataset.integers(_PIXEL_REPRESENTATION) == (1,)
    found: dict[str, Any] = {}
    for tag, element in sorted(dataset.elements.items()):
        # Group lengths are retired, and stand for an encoding that JSON does not have (F.2.2).
        if not tag & 0xFFFF:
            continue
        vr = _vr(tag, element, signed)
        if vr == "SQ":
            if depth < MAX_DEPTH:
                inside = f"{bulk}{tag:08X}/" if bulk else ""
                items = enumerate(dataset.items(tag, _MAX_ITEMS), 1)
                values = [
                    _dataset(item, bulk and f"{inside}{number}/", signed=signed, depth=depth + 1)
                    for number, item in items
                ]
                found[f"{tag:08X}"] = {"vr": vr, "Value": values} if values else {"vr": vr}
            continue
        shown = None if _is_bulk(tag, element, vr) else _element(dataset, tag, vr)
        if shown is None and bulk:
            shown = {"vr": vr if vr in _BULK else "UN", "BulkDataURI": f"{bulk}{tag:08X}"}
        if shown is not None:
            found[f"{tag:08X}"] = shown
    return found


def _is_bulk(tag: Tag, element: Element, vr: str) -> bool:
    """Whether this is pixels, or what belongs to them, such as their offsets; whatever its size."""
    return element.undefined or (tag >> 16 == PIXEL_GROUP >> 16 and vr in _BULK)


def _vr(tag: Tag, element: Element, signed: bool) -> str:
    """The VR as written; that of the dictionary where it is not, or is UN for an attribute that is known."""
    if element.vr != b"UN" and element.vr in LONG_VRS | SHORT_VRS:
        return element.vr.decode("ascii")
    if element.undefined:
        return "SQ"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    known = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
    if known == "US or SS":
        return "SS" if signed else "US"
    return "OW" if " or " in known else known


def _element(dataset: Dataset, tag: Tag, vr: str) -> dict[str, Any] | None:
    """The attribute; None where it is left out."""
    raw = dataset.raw(tag)
    if not raw:
        return {"vr": vr}
    if vr in _BINARY:
        # Words in big endian would have to be turned round, which is not worth it for a retired syntax.
        if len(raw) > MAX_BINARY or not (dataset.encoding.little or vr in ("OB", "UN")):
            return None
        return {"vr": vr, "InlineBinary": base64.b64encode(raw).decode("ascii")}
    if vr in _NUMBERS or vr == "AT":
        return _numbers(dataset, raw, vr)
    if vr in _PLAIN:
        return attribute(vr, (text.strip(" \0") for text in raw.decode("latin-1").split("\\")))
    if len(raw) > _MAX_TEXT:
        return None
    if vr in _CODED:
        return attribute(vr, dataset.texts(tag))
    return attribute(vr, [dataset.whole_text(tag)]) if vr in _WHOLE else None


def _numbers(dataset: Dataset, raw: bytes, vr: str) -> dict[str, Any] | None:
    order = "<" if dataset.encoding.little else ">"
    code = _NUMBERS.get(vr, "HH")
    if len(raw) % struct.calcsize(f"{order}{code}"):
        return None
    values: list[Any] = list(struct.iter_unpack(f"{order}{code}", raw))
    if vr == "AT":
        return {"vr": vr, "Value": [f"{group:04X}{element:04X}" for group, element in values]}
    return {"vr": vr, "Value": [_finite(value) for (value,) in values]}


def _finite(value: float) -> float | str:
    """JSON has no such numbers; the standard writes them as strings (F.2.3.1)."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _value(vr: str, text: str) -> Any:
    if not text:
        return None
    if vr == "PN":
        return {
            group: part for group, part in zip(_NAME_GROUPS, text.split("="), strict=False) if part
        } or None
    return _number(text, whole=vr != "DS")


def _number(text: str, *, whole: bool) -> float | str | None:
    """The number that `text` writes in decimal (PS3.5 section 6.2); as text where JSON has none (F.2.3).

    None where it writes none: clients that read numbers would lose all of the Data Set over one.
    """
    if not _DECIMAL.fullmatch(text):
        return None
    if whole:
        digits, _, rest = text.partition(".")
        return int(digits) if _WHOLE_NUMBER.fullmatch(digits) and not rest.strip("0") else None
    number = float(text)
    return number if math.isfinite(number) else text
