"""Signed stamps for tests, written as a gateway writes them, for any assessment and by any key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydicom.dataset import Dataset

from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.dicom.splice import splice
from orthanc_provenance.model import Assessment, Axis, Evidence, Modifier, Origin, Privacy, Strength
from orthanc_provenance.stamp.block import (
    DECLARATION_URI,
    SIGNED_STATEMENT,
    BlockElement,
    block_values,
    place_block,
    read_stamps,
)
from orthanc_provenance.stamp.received import check_stamps
from orthanc_provenance.stamp.statement import Signer
from orthanc_provenance.stamp.subject import subject_of
from orthanc_provenance.stamp.trust import Standing, TrustedKeys

REVISION = "test-1"
URI = "https://example.org/declarations/1"
OURS = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THEIRS = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
STRANGER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34))))


def trusted() -> TrustedKeys:
    """A gateway's own key and that of another; not that of the stranger."""
    keys = TrustedKeys([OURS.public_key])
    keys.put("theirs", [THEIRS.public_key])
    return keys


def assessed(origin: Origin, **values: Any) -> Assessment:
    marker = Evidence("test.marker", "(0008,0008)", "X", Axis.ORIGIN, origin.value, Strength.CODED)
    other = Evidence("test.other", "(0008,0008)", "X", Axis.ORIGIN, origin.value, Strength.CODED)
    return Assessment(origin, **{"evidence": (marker, other, marker), **values})


RICH = assessed(
    Origin.ACQUIRED, privacy=Privacy(True, True), modifiers=(Modifier.PHANTOM, Modifier.CONVERTED)
)


def with_stamp(
    data: bytes,
    assessment: Assessment,
    signer: Signer | None = OURS,
    uri: str = "",
    values: Mapping[BlockElement, bytes] | None = None,
) -> bytes:
    """The object in `data` with one more block, signed by `signer`; `values` are then written over it."""
    header = read_header(data)
    digest = pixel_digest(header)
    written = dict(block_values(assessment, REVISION, digest))
    if uri:
        written[DECLARATION_URI] = uri.encode()
    if signer is not None:
        present = read_stamps(header)
        previous = present[-1].statement if present else b""
        subject = subject_of(header, digest)
        written[SIGNED_STATEMENT] = signer.sign(assessment, subject, REVISION, uri, previous)
    written.update(values or {})
    return splice(header, place_block(header.elements, header.elements, written))


def standings(data: bytes, keys: TrustedKeys | None = None) -> tuple[Standing, ...]:
    """How the stamps of the object in `data` stand."""
    header = read_header(data)
    return check_stamps(
        header, read_stamps(header), trusted() if keys is None else keys, pixel_digest(header)
    )


def standing(data: bytes, keys: TrustedKeys | None = None) -> Standing:
    """How the current stamp of the object in `data` stands."""
    return standings(data, keys)[-1]


def block_of(dataset: Dataset, block: int = 0x10) -> dict[int, bytes]:
    """The values of one private block, by the numbers of its elements."""
    return {
        element.tag.element & 0xFF: element.value
        for element in dataset
        if element.tag.group == 0x0099 and element.tag.element >> 8 == block
    }
