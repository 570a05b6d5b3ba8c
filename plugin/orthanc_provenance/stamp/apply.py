"""Applying a stamp to the bytes of one object."""

from __future__ import annotations

from ..dicom.digest import pixel_digest
from ..dicom.header import Header
from ..dicom.splice import splice
from ..errors import HeaderError, StampError
from ..model import Assessment
from .block import read_stamp
from .elements import stamp_elements


def apply(
    header: Header, assessment: Assessment, catalogue_revision: str, digest: str | None = None
) -> bytes | None:
    """The bytes of the object with its stamp, or None where a stamp that says the same is there already.

    `header` is that of the whole object, `catalogue_revision` at most 64 ASCII characters, and `digest` the
    result of `dicom.digest.pixel_digest` where it is known already. Only elements are added: UIDs, pixels,
    transfer syntax and every other element stay byte for byte (PS3.3 section C.12.1.1.5, a gateway that
    coerces attributes). The result depends on the arguments alone: no clock, no random values.

    Raises StampError where the object cannot take a stamp, and where it carries one that says something
    else, which is never overwritten.
    """
    if digest is None:
        digest = _digest(header)
    present = read_stamp(header)
    if present is None:
        return splice(header, stamp_elements(header, assessment, catalogue_revision, digest))
    if present.agrees_with(assessment, digest):
        return None
    raise StampError(
        f"the object already carries another provenance stamp, of state {present.state or 'unknown'} where "
        f"this assessment says {assessment.state}; it is left as it came"
    )


def _digest(header: Header) -> str:
    try:
        return pixel_digest(header)
    except HeaderError as problem:
        raise StampError(f"the pixels cannot be read, so no stamp can bind them: {problem}") from problem
