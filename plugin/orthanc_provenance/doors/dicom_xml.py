"""The Native DICOM Model (PS3.19 annex A.1) of what `dicom_json` makes: XML, in UTF-8.

Left out are the characters that XML 1.0 does not allow, such as most control characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.datadict import keyword_for_tag

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
DICOM_XML = "application/dicom+xml"
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NAME_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"


def dataset_xml(found: Mapping[str, Any]) -> bytes:
    """One Data Set of the DICOM JSON Model (PS3.18 annex F) as a document of its own."""
    root = Element("NativeDicomModel", {"xmlns": NAMESPACE, _SPACE: "preserve"})
    # Items hold Data Sets again: a list of what is still to be written keeps deep ones off the stack.
    waiting: list[tuple[Element, Mapping[str, Any]]] = [(root, found)]
    while waiting:
        parent, dataset = waiting.pop()
        creators: dict[str, str] = {}
        for tag, attribute in sorted(dataset.items()):
            _remember_creator(creators, tag, attribute)
            element = SubElement(parent, "DicomAttribute", _names(tag, attribute["vr"], creators))
            if attribute["vr"] == "SQ":
                for number, item in enumerate(attribute.get("Value", ()), 1):
                    waiting.append((SubElement(element, "Item", number=str(number)), item))
            else:
                _write(element, attribute)
    return bytes(tostring(root, encoding="UTF-8", xml_declaration=True))


def _names(tag: str, vr: str, creators: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a DicomAttribute. A private tag has the block number taken out (PS3.19 A.1.5.1)."""
    creator = creators.get(f"{tag[:4]}{tag[4:6]}") if tag[4:6] != "00" else None
    if creator is not None:
        return {"tag": f"{tag[:4]}00{tag[6:]}", "vr": vr, "privateCreator": creator}
    keyword = keyword_for_tag(int(tag, 16))
    return {"tag": tag, "vr": vr, **({"keyword": keyword} if keyword else {})}


def _remember_creator(creators: dict[str, str], tag: str, attribute: Mapping[str, Any]) -> None:
    group, element = int(tag[:4], 16), int(tag[4:], 16)
    values = attribute.get("Value", ())
    if group & 1 and 0x10 <= element <= 0xFF and values and isinstance(values[0], str):
        creators[f"{tag[:4]}{tag[6:]}"] = _clean(values[0])


def _write(element: Element, attribute: Mapping[str, Any]) -> None:
    if "InlineBinary" in attribute:
        SubElement(element, "InlineBinary").text = attribute["InlineBinary"]
    elif "BulkDataURI" in attribute:
        SubElement(element, "BulkData", uri=attribute["BulkDataURI"])
    for number, value in enumerate(attribute.get("Value", ()), 1):
        if value is None:
            # An empty value is left out; the numbers of the others tell where it was.
            continue
        if isinstance(value, Mapping):
            _write_name(SubElement(element, "PersonName", number=str(number)), value)
        else:
            SubElement(element, "Value", number=str(number)).text = _clean(str(value))


def _write_name(element: Element, name: Mapping[str, str]) -> None:
    for group in _NAME_GROUPS:
        if name.get(group):
            parent = SubElement(element, group)
            for part, text in zip(_NAME_PARTS, name[group].split("^"), strict=False):
                if text:
                    SubElement(parent, part).text = _clean(text)


def _clean(text: str) -> str:
    return _REFUSED.sub("", text)
