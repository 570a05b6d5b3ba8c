"""The DICOM Conformance Statement says what the program does: its tables are compared with both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import pytest
from archive_fixture import ORIGINAL, Archive, evidence
from conformance_page import PAGE, literals, table
from dicom_samples import decode, encode, image
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import UID
from signed_samples import OURS, RICH, URI, assessed

from orthanc_provenance import __version__
from orthanc_provenance.config import Route, Settings
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.doors.capabilities import RESOURCES
from orthanc_provenance.doors.negotiate import OCTETS, frame_type
from orthanc_provenance.doors.qido import FILTERS, SYNTHETIC_DATA, TAGS, private_tag
from orthanc_provenance.index.matching import LISTS, is_wild
from orthanc_provenance.index.query import COLUMNS, KEYS, Level
from orthanc_provenance.index.record import REQUEST_ATTRIBUTES
from orthanc_provenance.index.released import Kind
from orthanc_provenance.model import Assessment, Axis, Evidence, Origin, State, Strength
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.block import (
    CREATOR,
    DECLARATION_URI,
    DICTIONARY,
    GENERATOR,
    GROUP,
    ORIGIN,
    STATE,
    BlockElement,
)
from orthanc_provenance.stamp.elements import MANUFACTURER, MODEL_NAME

LEVELS = tuple(level.value for level in Level)
PATHS = ("/studies", "/series", "/instances")
JPEG_XL = "1.2.840.10008.1.2.4.110"
_TAG = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)")


def stamped(dataset: Dataset, assessment: Assessment, uri: str = "") -> Dataset:
    data = apply(read_header(encode(dataset)), assessment, "test-1", signer=OURS, declaration_uri=uri)
    assert data is not None
    return decode(data)


# --- what a stamp adds ------------------------------------------------------------------------------------


def walk(dataset: Dataset, before: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, VR and value of every element, those in items too; of our block the Private Creator alone."""
    for element in dataset:
        if element.tag.group == GROUP and element.tag.element > 0xFF:
            continue
        name = "xx" if element.tag.group == GROUP else f"{element.tag.element & 0xFF:02X}"
        path = f"{before}({element.tag.group:04X},{element.tag.element >> 8:02X}{name})"
        yield path, element.VR, element.value
        if element.VR == "SQ":
            for item in element.value:
                yield from walk(item, f"{path}>")


def test_the_table_of_added_attributes_is_what_a_stamp_adds() -> None:
    before = {path for path, _, _ in walk(decode(encode(image())))}
    added = {
        path: (vr, value)
        for path, vr, value in walk(stamped(image(), assessed(Origin.AI_GENERATED)))
        if path not in before
    }
    rows = {row["tag"]: row for row in table("attribute", "tag", "VR", "added", "value", "reference")}
    assert set(rows) - {"(0099,xxyy)"} == set(added)
    for path, (vr, value) in added.items():
        assert rows[path]["VR"] == vr
        texts = [str(one) for one in (value if isinstance(value, list) else [value])]
        for literal in literals(rows[path]["value"]):
            assert vr == "SQ" or any(literal in text for text in texts), (path, literal)


def test_synthetic_data_is_added_under_the_condition_that_the_page_names() -> None:
    (row,) = (row for row in table("added") if row["tag"] == "(0008,001C)")

    added = {state.value for state in State if "SyntheticData" in stamped(image(), assessed(state.origin))}

    assert {literal for literal in literals(row["added"]) if literal in tuple(State)} == added


def test_the_identity_of_the_gateway_and_its_version_are_those_of_the_program() -> None:
    assert f"| Version | {__version__} |" in PAGE
    assert f"| Device | `{MODEL_NAME}`, made by `{MANUFACTURER}` |" in PAGE


# --- private data elements --------------------------------------------------------------------------------


def dictionary() -> dict[str, dict[str, str]]:
    return {row["element"]: row for row in table("element", "keyword", "VM")}


def number(element: BlockElement) -> str:
    return f"({GROUP:04X},xx{element.number:02X})"


def test_the_private_dictionary_is_the_one_of_the_program() -> None:
    expected = {
        number(element): (element.keyword, element.name, element.vr.decode(), element.vm)
        for element in DICTIONARY
    }
    columns = ("keyword", "name", "VR", "VM")
    assert {tag: tuple(row[column] for column in columns) for tag, row in dictionary().items()} == expected


def test_stamped_objects_hold_the_private_elements_that_the_page_says_and_no_others() -> None:
    dataset = stamped(image(), RICH, URI)
    block = dataset.private_block(GROUP, CREATOR)

    held = {
        f"({GROUP:04X},xx{element.tag.element & 0xFF:02X})": element.VR
        for element in dataset.group_dataset(GROUP)
        if element.tag.element > 0xFF
    }

    assert held == {tag: row["VR"] for tag, row in dictionary().items() if "object" in row["in"].split(", ")}
    for state in State:
        origin = stamped(image(), assessed(state.origin))[block.get_tag(STATE.number)].value
        assert origin in literals(dictionary()[number(STATE)]["description"])
    assert literals(dictionary()[number(STATE)]["description"]) == [state.value for state in State]
    assert literals(dictionary()[number(ORIGIN)]["description"]) == [origin.value for origin in Origin]


def test_the_action_of_a_de_identifier_follows_from_what_the_object_declares() -> None:
    (item,) = stamped(image(), RICH).PrivateDataElementCharacteristicsSequence

    assert item.BlockIdentifyingInformationStatus == "SAFE"
    actions = {row["de-identification"] for row in dictionary().values() if "object" in row["in"].split(", ")}
    assert actions == {"SAFE, K"}
    assert dictionary()[number(GENERATOR)]["de-identification"] == "not in objects"


# --- transfer syntaxes and resources ----------------------------------------------------------------------


def test_the_transfer_syntaxes_have_the_names_of_the_standard() -> None:
    for row in table("transfer syntax", "UID"):
        uid = UID(row["UID"].strip("`"))
        assert uid.is_transfer_syntax
        assert row["transfer syntax"] == uid.name + (" (retired)" if uid.is_retired else "")


def test_the_resources_are_those_of_the_capabilities() -> None:
    rows = table("resource", "transaction", "media types")

    assert [(row["resource"].strip("`"), row["transaction"]) for row in rows] == [
        (path, transaction) for path, transaction, _, _ in RESOURCES
    ]
    assert [tuple(literals(row["media types"])) for row in rows] == [types for _, _, _, types in RESOURCES]


# --- searches ---------------------------------------------------------------------------------------------


def matching_of(keyword: str) -> str:
    vr = dictionary_VR(TAGS[keyword])
    if keyword not in KEYS:
        return "by its items"
    if vr == "UI":
        return "UID list"
    if not is_wild(keyword, "*"):
        return "range"
    return "wildcard, list" if keyword in LISTS else "wildcard"


def test_the_keys_of_searches_are_those_of_the_index() -> None:
    rows = table("attribute", "tag", "VR", "level", "matching", "returned")

    assert [(row["attribute"], row["tag"], row["VR"], row["level"], row["matching"]) for row in rows] == [
        (
            keyword,
            f"({TAGS[keyword] >> 16:04X},{TAGS[keyword] & 0xFFFF:04X})",
            dictionary_VR(TAGS[keyword]),
            LEVELS[depth],
            matching_of(keyword),
        )
        for keyword, depth in COLUMNS.items()
    ]


def hexadecimal(row: dict[str, str]) -> str:
    found = _TAG.fullmatch(row["tag"])
    assert found is not None
    return "".join(found.groups())


def answers(archive: Archive, query: str = "") -> list[set[str]]:
    """The attributes that one match has at each level."""
    found = []
    for path in PATHS:
        (match,) = archive.get(path + query).get_json(force=True)
        found.append(set(match))
    return found


def expected(words: Iterable[str]) -> list[set[str]]:
    """The attributes that a match has at each level as the page says, those with one of `words`."""
    rows = [
        row
        for row in table("attribute", "level", "matching", "returned")
        if row["returned"] in set(words) and row["attribute"] not in REQUEST_ATTRIBUTES
    ]
    computed = table("attribute", "tag", "levels", "value")
    private = {
        f"{private_tag(element):08X}"
        for element in DICTIONARY
        if "answer" in dictionary()[number(element)]["in"]
    } - {f"{private_tag(GENERATOR):08X}", f"{private_tag(DECLARATION_URI):08X}"}
    return [
        {hexadecimal(row) for row in rows if LEVELS.index(row["level"]) <= depth}
        | {hexadecimal(row) for row in computed if level in row["levels"].split(", ")}
        | private
        for depth, level in enumerate(LEVELS)
    ]


def requested() -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = "1", "2"
    return item


FULL = {
    "TimezoneOffsetFromUTC": "+0100",
    "SeriesDescription": "D",
    "SeriesDate": "20240101",
    "SeriesTime": "1000",
    "PerformedProcedureStepStartDate": "20240101",
    "BodyPartExamined": "HEAD",
    "PerformedProcedureStepStartTime": "1000",
    "ProtocolName": "P",
    "ManufacturerModelName": "N",
    "NumberOfFrames": "1",
    "RequestAttributesSequence": [requested()],
}
EMPTY = dict.fromkeys(("Rows", "Columns", "BitsAllocated"))


@pytest.mark.parametrize(
    ("values", "query", "words"),
    [
        (EMPTY, "", ["always"]),
        (FULL, "", ["always", "with a value"]),
        (FULL, "?includefield=Rows", ["always", "with a value", "`includefield`"]),
        (FULL, "?includefield=all", ["always", "with a value", "`includefield`"]),
    ],
)
def test_answers_have_the_attributes_that_the_page_says(
    archive: Archive, values: dict[str, Any], query: str, words: list[str]
) -> None:
    uids = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1"}
    archive.put_bytes(encode(image(**uids, **values)), ORIGINAL)
    archive.flush()

    assert answers(archive, query) == expected(words)


def test_the_generator_is_answered_where_there_is_one(archive: Archive) -> None:
    named = Evidence("t", "(0008,1090)", "X-GAN", Axis.ORIGIN, Origin.AI_DERIVED.value, Strength.EQUIPMENT)
    made = Assessment(Origin.AI_DERIVED, evidence=(named, evidence(Origin.AI_DERIVED.value)))
    archive.put("1.1", "1.1.1", "1.1.1.1", made)
    archive.flush()

    assert all(f"{private_tag(GENERATOR):08X}" in found for found in answers(archive))


def test_the_provenance_filters_are_those_of_the_program() -> None:
    tags = {
        Kind.SYNTHETIC: f"{SYNTHETIC_DATA:08X}",
        Kind.STATE: f"{private_tag(STATE):08X}",
        Kind.ORIGIN: f"{private_tag(ORIGIN):08X}",
        Kind.GENERATOR: f"{private_tag(GENERATOR):08X}",
        Kind.DECLARATION: f"{private_tag(DECLARATION_URI):08X}",
    }
    assert [
        (row["filter"], row["also as"], literals(row["values"])) for row in table("filter", "also as")
    ] == [
        (f"`{name}`", f"`{tags[kind]}`" if kind in tags else "", [str(word) for word in words])
        for name, (kind, words) in FILTERS.items()
    ]


# --- what else the page says ------------------------------------------------------------------------------


def test_frames_come_in_the_media_types_that_the_page_names() -> None:
    (line,) = re.findall(r"Frames and pixels are also served(?:.|\n)*?\.\n", PAGE)
    syntaxes = [row["UID"].strip("`") for row in table("transfer syntax", "UID")]

    assert set(literals(line)) == {frame_type(syntax) for syntax in (*syntaxes, JPEG_XL)} - {OCTETS}


@pytest.mark.parametrize(
    ("path", "method", "accept", "status"),
    [
        ("/studies", "GET", "*/*", 200),
        ("/studies?PatientID=nobody", "GET", "*/*", 200),
        ("/studies?Unknown=1", "GET", "*/*", 400),
        ("/studies/x", "GET", "*/*", 400),
        ("/studies/1.9", "GET", "*/*", 404),
        ("/studies/1.1/series/1.1.1/instances/1.1.1.1/frames/2", "GET", "*/*", 404),
        ("/studies", "POST", "*/*", 405),
        ("/studies", "DELETE", "*/*", 405),
        ("/studies", "GET", "text/html", 406),
        ("/studies/1.1/series/1.1.1/instances/1.1.1.1/rendered", "GET", "image/gif", 406),
    ],
)
def test_answers_have_the_status_codes_of_the_page(
    filled: Archive, path: str, method: str, accept: str, status: int
) -> None:
    answer = filled.get(path, method=method, Accept=accept)

    assert answer.status_code == status
    assert str(status) in {row["code"] for row in table("code", "when")}
    if status >= 400:
        assert set(answer.get_json(force=True)) == {"error", "status"}


def test_the_keys_of_the_configuration_exist() -> None:
    def keys(kind: type) -> set[str]:
        return {one.name.replace("_", "") for one in fields(kind)}

    ours = [name for row in table("key", "what it changes here") for name in literals(row["key"])]
    for name in ours[: ours.index("IngestTranscoding")]:
        route = name.startswith("Routes.*.")
        known = keys(Route if route else Settings)
        assert name.removeprefix("Routes.*.").lower() in known, name
