"""QIDO-RS: what a query asks for (PS3.18 sections 8.3.4 and 10.6).

Keys are all attributes that the index holds, by keyword or as eight hexadecimal digits, those of a Sequence
as a path (`RequestAttributesSequence.RequestedProcedureID`), and those about provenance. An attribute that
the index does not hold is refused as a key, and has no value as an `includefield`.

Of a key that is repeated, Orthanc shows plugins the last only, and clients repeat `includefield`. Hence any
one that is known brings all attributes that there are: an answer may hold more than was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR
from werkzeug.exceptions import BadRequest

from ..index.matching import EMPTY, LISTS
from ..index.query import KEYS, Level, Query
from ..index.record import INSTANCE_ATTRIBUTES, REQUEST_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES
from ..index.released import Kind
from ..model import Origin, State
from ..stamp.block import DECLARATION_URI, GENERATOR, GROUP, ORIGIN, STATE, BlockElement

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_OFFSET = 10_000_000
MAX_QUERY = 8192
MAX_KEYS = 64
MAX_VALUE = 1024
MAX_VALUES = 32

TAGS = {
    **STUDY_ATTRIBUTES,
    **SERIES_ATTRIBUTES,
    **REQUEST_ATTRIBUTES,
    **INSTANCE_ATTRIBUTES,
    "ModalitiesInStudy": 0x00080061,
}
SYNTHETIC_DATA = 0x0008001C
_FLAGS = ("YES", "NO")
# The provenance filters, with the words that are known; () where every text may be a value.
FILTERS: Mapping[str, tuple[Kind, tuple[str, ...]]] = {
    "SyntheticData": (Kind.SYNTHETIC, _FLAGS),
    "ProvenanceState": (Kind.STATE, tuple(State)),
    "ProvenanceOrigin": (Kind.ORIGIN, tuple(Origin)),
    "IdentityRemoved": (Kind.IDENTITY_REMOVED, _FLAGS),
    "Defaced": (Kind.DEFACED, _FLAGS),
    "Generator": (Kind.GENERATOR, ()),
    "Declaration": (Kind.DECLARATION, ()),
}
_SWITCHES = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")
_PARAMETERS = frozenset(("limit", "offset", "includefield", "accept", "charset", *_SWITCHES))
_SEQUENCE = ("RequestAttributesSequence", f"{SERIES_ATTRIBUTES['RequestAttributesSequence']:08X}")
_UID = re.compile(r"[0-9.]{1,64}")
_DATE = r"[0-9]{8}"
_TIME = r"[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?"
_SYNTAX = {
    "UI": re.compile(rf"{_UID.pattern}(?:[,\\]{_UID.pattern})*"),
    "DA": re.compile(rf"{_DATE}|{_DATE}-(?:{_DATE})?|-{_DATE}"),
    "TM": re.compile(rf"{_TIME}|{_TIME}-(?:{_TIME})?|-{_TIME}"),
}
_EXAMPLE = {"UI": "1.2.840.113", "DA": "20240131 or 20240101-20241231", "TM": "0930 or 0800-1159"}


def private_tag(element: BlockElement) -> int:
    """The tag that an element of our private block has in answers, where the block is the first."""
    return GROUP << 16 | 0x1000 | element.number


def _keywords() -> dict[str, str]:
    """All that a key may be called, in capitals, with the keyword that it means."""
    found = {f"{tag:08X}": keyword for keyword, tag in TAGS.items() if keyword in KEYS}
    for keyword in REQUEST_ATTRIBUTES:
        for sequence in _SEQUENCE:
            found[f"{sequence.upper()}.{keyword.upper()}"] = keyword
            found[f"{sequence.upper()}.{REQUEST_ATTRIBUTES[keyword]:08X}"] = keyword
    found[f"{SYNTHETIC_DATA:08X}"] = "SyntheticData"
    elements = {
        "ProvenanceState": STATE,
        "ProvenanceOrigin": ORIGIN,
        "Generator": GENERATOR,
        "Declaration": DECLARATION_URI,
    }
    return found | {f"{private_tag(element):08X}": keyword for keyword, element in elements.items()}


_KEYWORDS = _keywords()
_FIELDS = frozenset(("all", *TAGS, *(f"{tag:08X}" for tag in TAGS.values())))


@dataclass(frozen=True, slots=True)
class Asked:
    """A query; `all_fields` where more is to be shown than what is shown anyhow.

    `fuzzy` where the client wished for more than literal matching.
    """

    query: Query
    all_fields: bool
    fuzzy: bool


def check_uid(text: str) -> str:
    """`text` where it has the form of a UID (PS3.5 section 9.1). Raises BadRequest."""
    if not _UID.fullmatch(text):
        raise BadRequest("a UID in the path is not one: at most 64 digits and dots are allowed")
    return text


def read_query(level: Level, arguments: Iterable[tuple[str, str]], path: Mapping[str, str]) -> Asked:
    """The query in the `arguments` of a URL, below the UIDs that its `path` gives, by keyword.

    Raises BadRequest, naming the key, for one that is unknown, given twice or has no such value.
    """
    given = _read_arguments(arguments)
    switches = {name: _read_switch(name, given) for name in _SWITCHES}
    matches = {key: values[0] for key, values in given.items() if key in KEYS}
    for keyword, uid in path.items():
        if matches.get(keyword, uid) != uid:
            raise BadRequest(f"{keyword} is given by the path already, and the query names another")
        matches[keyword] = uid
    for keyword, value in matches.items():
        _check_value(keyword, value, empty=switches["emptyvaluematching"])
    query = Query(
        level=level,
        matches=matches,
        provenance={
            kind: _read_words(keyword, given[keyword], words)
            for keyword, (kind, words) in FILTERS.items()
            if keyword in given
        },
        limit=min(_read_number("limit", given, DEFAULT_LIMIT, 10**9), MAX_LIMIT),
        offset=_read_number("offset", given, 0, MAX_OFFSET),
    )
    fields = (name.strip() for value in given.get("includefield", ()) for name in value.split(","))
    return Asked(query, any(map(_is_known, fields)), switches["fuzzymatching"])


def _is_known(field: str) -> bool:
    return field in _FIELDS or field.upper() in _FIELDS


def _read_arguments(arguments: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    arguments = list(arguments)
    if len(arguments) > MAX_KEYS:
        raise BadRequest(f"the query has more than {MAX_KEYS} keys")
    given: dict[str, list[str]] = {}
    for name, value in arguments:
        key = _KEYWORDS.get(name.upper(), name)
        # Some clients write `?&limit=10`.
        if not name and not value:
            continue
        if key not in KEYS | _PARAMETERS | FILTERS.keys():
            raise BadRequest(
                f"unknown query key {name[:64]!r}; supported are {', '.join(sorted(_PARAMETERS))}, "
                f"{', '.join(FILTERS)} and the attributes {', '.join(sorted(KEYS))}"
            )
        if key in given and key != "includefield" and key not in FILTERS:
            raise BadRequest(f"the query key {key} is given twice")
        if len(value) > MAX_VALUE or not value.isprintable():
            raise BadRequest(f"the value of {key} is longer than {MAX_VALUE} or has unprintable characters")
        given.setdefault(key, []).append(value.strip())
    return given


def _check_value(keyword: str, value: str, *, empty: bool) -> None:
    if value == EMPTY:
        if not empty:
            raise BadRequest(f"to find an empty {keyword}, ask with emptyvaluematching=true")
        return
    vr = dictionary_VR(TAGS[keyword])
    syntax = _SYNTAX.get(vr)
    if value and syntax is not None and not syntax.fullmatch(value):
        raise BadRequest(f"the value of {keyword} must look like {_EXAMPLE[vr]}")
    separators = ",\\" if keyword in LISTS else "\\"
    if sum(map(value.count, separators)) >= MAX_VALUES and vr != "UI":
        raise BadRequest(f"{keyword} has more than {MAX_VALUES} values")


def _read_number(name: str, given: Mapping[str, list[str]], default: int, highest: int) -> int:
    text = given.get(name, [""])[0]
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > highest:
        raise BadRequest(f"{name} must be a whole number from 0 to {highest}")
    return int(text)


def _read_switch(name: str, given: Mapping[str, list[str]]) -> bool:
    text = given.get(name, ["false"])[0].lower()
    if text not in ("true", "false", ""):
        raise BadRequest(f"{name} must be true or false")
    return text == "true"


def _read_words(keyword: str, given: list[str], words: tuple[str, ...]) -> tuple[str, ...]:
    """The values of a provenance filter, of which one must apply; () for all."""
    parts = [part.strip() for text in given for part in re.split(r"[,\\]", text)]
    if not words:
        # A name may have a comma in it.
        found = [*given, *parts]
    else:
        known = {word.upper(): word for word in words}
        unknown = [part for part in parts if part and part.upper() not in known]
        if unknown:
            raise BadRequest(f"unknown {keyword} {unknown[0][:64]!r}; known are {', '.join(words)}")
        found = [known[part.upper()] for part in parts if part]
    values = tuple(dict.fromkeys(filter(None, found)))
    if len(values) > MAX_VALUES:
        raise BadRequest(f"{keyword} has more than {MAX_VALUES} values")
    return values
