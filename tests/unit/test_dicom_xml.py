"""The Native DICOM Model: what the JSON model says, as XML."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from orthanc_provenance.doors.dicom_xml import NAMESPACE, dataset_xml


def shown(found: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(dataset_xml(found))


def attribute(root: ElementTree.Element, tag: str) -> ElementTree.Element:
    (found,) = [element for element in root if element.get("tag") == tag]
    return found


def name(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(f"{{{NAMESPACE}}}")


def test_values_are_numbered_and_empty_ones_left_out() -> None:
    root = shown({"00080008": {"vr": "CS", "Value": ["DERIVED", None, "X"]}, "00080020": {"vr": "DA"}})
    element = attribute(root, "00080008")
    assert (element.get("vr"), element.get("keyword")) == ("CS", "ImageType")
    assert [(value.get("number"), value.text) for value in element] == [("1", "DERIVED"), ("3", "X")]
    assert list(attribute(root, "00080020")) == []


def test_names_come_in_their_parts() -> None:
    root = shown(
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou^^Dr", "Ideographic": "山田"}]}}
    )
    (person,) = attribute(root, "00100010")
    assert [name(group) for group in person] == ["Alphabetic", "Ideographic"]
    parts = {name(part): part.text for part in person[0]}
    assert parts == {"FamilyName": "Yamada", "GivenName": "Tarou", "NamePrefix": "Dr"}
    assert person[1][0].text == "山田"


def test_sequences_hold_items() -> None:
    text = dataset_xml({"00082112": {"vr": "SQ", "Value": [{}, {"00080060": {"vr": "CS", "Value": ["MR"]}}]}})
    items = attribute(ElementTree.fromstring(text), "00082112")
    assert [(name(item), item.get("number")) for item in items] == [("Item", "1"), ("Item", "2")]
    assert items[1][0][0].text == "MR"


def test_binary_and_bulk_data_are_told_apart() -> None:
    root = shown(
        {
            "00091001": {"vr": "OB", "InlineBinary": "AAEC"},
            "7FE00010": {"vr": "OW", "BulkDataURI": "http://host/bulk?a=1&b=2"},
        }
    )
    assert attribute(root, "00091001")[0].text == "AAEC"
    assert attribute(root, "7FE00010")[0].get("uri") == "http://host/bulk?a=1&b=2"


def test_private_attributes_name_their_creator_instead_of_a_block() -> None:
    root = shown(
        {
            "00990011": {"vr": "LO", "Value": ["ACME 1.0"]},
            "00991101": {"vr": "LO", "Value": ["x"]},
            "00991201": {"vr": "UN"},
        }
    )
    assert attribute(root, "00990001").get("privateCreator") == "ACME 1.0"
    assert attribute(root, "00991201").get("privateCreator") is None


def test_what_xml_cannot_hold_is_left_out_and_what_it_must_escape_is() -> None:
    root = shown({"00204000": {"vr": "LT", "Value": ["a\x00\x0b<b>&\ud800\n"]}})
    assert attribute(root, "00204000")[0].text == "a<b>&\n"
