"""Which elements a stamp adds to an object, and why each of them.

Everything is added, nothing replaced. What survives which de-identification differs: SyntheticData and the
Contributing Equipment Item survive the Basic Application Level Confidentiality Profile (PS3.15 Table E.1-1),
the private block survives with the Retain Safe Private Option, hence the declaration of it as safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from .. import __version__
from ..dicom.codes import MODIFYING_EQUIPMENT
from ..dicom.dataset import Dataset
from ..dicom.encode import Item, NewElement
from ..dicom.header import Header
from ..dicom.scan import Tag
from ..model import Assessment, State
from .block import (
    CREATOR,
    GROUP,
    SIGNED_STATEMENT,
    Stamp,
    block_values,
    long_strings,
    place_block,
    read_stamp,
    read_stamps,
)
from .signatures import signed_tags

MANUFACTURER = "orthanc-provenance"
MODEL_NAME = "DICOM Provenance Gateway"
STATE_PREFIX = "STATE:"
UNLABELLED = "LABELLED:NO"

SYNTHETIC_DATA = 0x0008001C
PRIVATE_CHARACTERISTICS_SEQUENCE = 0x00080300
PRIVATE_GROUP_REFERENCE = 0x00080301
PRIVATE_CREATOR_REFERENCE = 0x00080302
BLOCK_IDENTIFYING_STATUS = 0x00080303
CONTRIBUTING_EQUIPMENT_SEQUENCE = 0x0018A001
PURPOSE_OF_REFERENCE = 0x0040A170
SOFTWARE_VERSIONS = 0x00181020
MAX_ITEMS = 1024
"""Contributing Equipment Items that are looked at."""
_MANUFACTURER = 0x00080070
_MODEL_NAME = 0x00081090
_CODE_VALUE = 0x00080100
_CODING_SCHEME = 0x00080102
_CODE_MEANING = 0x00080104
_UNCOUNTED = 2
"""Of our Software Versions, those that say who wrote the Item: version and catalogue."""


def public_elements(header: Header, assessment: Assessment, catalogue_revision: str) -> dict[Tag, NewElement]:
    """The additions of a stamp that everybody reads, those that are not there yet: all but the private block.

    An element that a digital signature covers is left out. Raises StampError where a text cannot be written,
    and where it cannot be told what a signature covers.
    """
    added: dict[Tag, NewElement] = {}
    if assessment.origin.is_synthetic and SYNTHETIC_DATA not in header:
        added[SYNTHETIC_DATA] = NewElement(b"CS", b"YES")
    if not _is_declared_safe(header):
        added[PRIVATE_CHARACTERISTICS_SEQUENCE] = NewElement(b"SQ", (SAFE_BLOCK,))
    versions = software_versions(assessment, catalogue_revision)
    if not _has_equipment(header, versions):
        added[CONTRIBUTING_EQUIPMENT_SEQUENCE] = NewElement(b"SQ", (equipment_item(versions),))
    for tag in signed_tags(header) & added.keys():
        del added[tag]
    return added


def missing_elements(
    header: Header, stamp: Stamp, assessment: Assessment, catalogue_revision: str
) -> dict[Tag, NewElement]:
    """The additions of `public_elements` that are gone from an object whose `stamp` agrees with `assessment`.

    An Item that names the state is enough, whichever version and catalogue it names. Raises as that does.
    """
    said = replace(assessment, labelled=stamp.labelled)
    added = public_elements(header, said, catalogue_revision)
    if CONTRIBUTING_EQUIPMENT_SEQUENCE in added:
        words = set(software_versions(said, catalogue_revision)[_UNCOUNTED:])
        items = header.items(CONTRIBUTING_EQUIPMENT_SEQUENCE, MAX_ITEMS)
        # Of more Items than are looked at nothing can be told to be gone.
        if len(items) == MAX_ITEMS or any(words <= set(named) for named in _named_by_us(header)):
            del added[CONTRIBUTING_EQUIPMENT_SEQUENCE]
    return added


def block_elements(
    header: Header,
    assessment: Assessment,
    catalogue_revision: str,
    digest: str,
    statement: bytes = b"",
    declaration_uri: str = "",
) -> dict[Tag, NewElement]:
    """The private block of a stamp, above those that are there, for `dicom.splice.splice`.

    `digest` is the pixel digest, `""` where the object has no pixels, `statement` the signed one, b"" for
    none, and `declaration_uri` names the declaration of what made the content, `""` where there is none.
    Raises StampError where a text cannot be written, where group 0099 has no place, and where it cannot be
    told what a signature covers.
    """
    signed = signed_tags(header)
    taken = header.elements.keys() | signed if signed else header.elements
    values = {**block_values(assessment, catalogue_revision, digest, declaration_uri)}
    if statement:
        values[SIGNED_STATEMENT] = statement + b" " * (len(statement) % 2)
    earlier = read_stamp(header)
    return place_block(taken, taken, values, above=0 if earlier is None else earlier.block)


def software_versions(assessment: Assessment, catalogue_revision: str) -> tuple[str, ...]:
    """Software Versions (0018,1020) of our Contributing Equipment Item, which carry the state.

    Where artificial content came without a label, a last value says so: a de-identification that removes the
    private block keeps the SyntheticData that the stamp added, and that must not pass as a label later.
    """
    versions = (__version__, catalogue_revision, f"{STATE_PREFIX}{assessment.state.value}")
    unlabelled = assessment.origin.may_be_labelled and not assessment.labelled
    return (*versions, UNLABELLED) if unlabelled else versions


def claimed_states(header: Header) -> tuple[State, ...]:
    """The states that our Contributing Equipment Items name: what a de-identification leaves of a stamp."""
    words = state_words(header)
    return tuple(state for state in State if state.value in words)


def state_words(header: Header) -> frozenset[str]:
    """What our Contributing Equipment Items name as a state, be it one or not."""
    named = (version for versions in _named_by_us(header) for version in versions)
    return frozenset(word.removeprefix(STATE_PREFIX) for word in named if word.startswith(STATE_PREFIX))


def claims_unlabelled(header: Header) -> bool:
    """Whether a stamp, or what a de-identification left of one, says that the object came without a label."""
    for stamp in read_stamps(header):
        if stamp.origin is not None and stamp.origin.may_be_labelled and not stamp.labelled:
            return True
    return any(UNLABELLED in versions for versions in _named_by_us(header))


def _named_by_us(header: Header) -> Iterator[tuple[str, ...]]:
    """The Software Versions of each Contributing Equipment Item of ours."""
    for item in header.items(CONTRIBUTING_EQUIPMENT_SEQUENCE, MAX_ITEMS):
        if item.text(_MANUFACTURER) == MANUFACTURER:
            yield item.texts(SOFTWARE_VERSIONS)


SAFE_BLOCK: Item = (
    (PRIVATE_GROUP_REFERENCE, NewElement(b"US", GROUP)),
    (PRIVATE_CREATOR_REFERENCE, NewElement(b"LO", CREATOR.encode("ascii"))),
    (BLOCK_IDENTIFYING_STATUS, NewElement(b"CS", b"SAFE")),
)
"""Item of the Private Data Element Characteristics Sequence (PS3.3 section C.12.1): no PHI in the block."""


@lru_cache(maxsize=64)
def equipment_item(versions: tuple[str, ...]) -> Item:
    """A gateway that coerces attributes names itself as Modifying Equipment (PS3.3 section C.12.1.1.5)."""
    purpose: Item = (
        (_CODE_VALUE, NewElement(b"SH", MODIFYING_EQUIPMENT.value.encode("ascii"))),
        (_CODING_SCHEME, NewElement(b"SH", MODIFYING_EQUIPMENT.scheme.encode("ascii"))),
        (_CODE_MEANING, NewElement(b"LO", MODIFYING_EQUIPMENT.meaning.encode("ascii"))),
    )
    return (
        (_MANUFACTURER, NewElement(b"LO", MANUFACTURER.encode("ascii"))),
        (_MODEL_NAME, NewElement(b"LO", MODEL_NAME.encode("ascii"))),
        (SOFTWARE_VERSIONS, NewElement(b"LO", long_strings(versions))),
        (PURPOSE_OF_REFERENCE, NewElement(b"SQ", (purpose,))),
    )


def _is_declared_safe(dataset: Dataset) -> bool:
    return any(
        item.integers(PRIVATE_GROUP_REFERENCE) == (GROUP,) and item.text(PRIVATE_CREATOR_REFERENCE) == CREATOR
        for item in dataset.items(PRIVATE_CHARACTERISTICS_SEQUENCE)
    )


def _has_equipment(dataset: Dataset, versions: tuple[str, ...]) -> bool:
    """Our Item may be there without the block, which a de-identification has removed."""
    return any(
        item.text(_MANUFACTURER) == MANUFACTURER
        and item.text(_MODEL_NAME) == MODEL_NAME
        and item.texts(SOFTWARE_VERSIONS) == versions
        for item in dataset.items(CONTRIBUTING_EQUIPMENT_SEQUENCE, MAX_ITEMS)
    )
