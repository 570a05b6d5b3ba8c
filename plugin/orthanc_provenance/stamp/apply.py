"""Applying a stamp to the bytes of one object."""

from __future__ import annotations

from ..dicom.digest import pixel_digest
from ..dicom.header import Header
from ..dicom.splice import splice
from ..errors import HeaderError, StampError
from ..model import Assessment
from .block import Stamp, read_stamp
from .elements import block_elements, missing_elements, public_elements
from .public import public_half
from .statement import Signer
from .subject import subject_of
from .trust import NO_KEYS, TrustedKeys, Word


def apply(
    header: Header,
    assessment: Assessment,
    catalogue_revision: str,
    digest: str | None = None,
    *,
    signer: Signer | None = None,
    trusted: TrustedKeys = NO_KEYS,
    declaration_uri: str = "",
) -> bytes | None:
    """The bytes of the object with its stamp, or None where one that says the same is there, and whole.

    `header` is that of the whole object, `catalogue_revision` at most 64 ASCII characters, and `digest` the
    result of `dicom.digest.pixel_digest` where it is known already; `declaration_uri` names the declaration
    of what made the content. Only elements are added: UIDs, pixels, transfer syntax and every other element
    stay byte for byte (PS3.3 section C.12.1.1.5, a gateway that coerces attributes). The result depends on
    the arguments alone: no clock, no random values.

    `signer` signs the stamp; a stamp that is there already is then only enough where the signer's own key or
    one in `trusted` has signed it for these pixels. So whoever verifies what a gateway gives out needs the
    keys of that gateway and no others.

    Of a stamp that is enough, but has lost what it had outside its private block, that alone is added again.
    A stamp that says something else, or is not enough, is kept as it is: the new one stands in a further
    private block (PS3.5 section 7.8.1) above it, and its statement names the earlier one. So a copy whose
    state has changed leaves with its history. Raises StampError where the object cannot take a stamp.
    """
    if digest is None:
        digest = _digest(header)
    present = read_stamp(header)
    if present is not None and present.agrees_with(assessment, digest, declaration_uri):
        # Of an object that readers read differently no stamp is enough, and none is spliced in.
        is_enough = header.ordered if signer is None else _is_signed(header, present, digest, signer, trusted)
        if is_enough:
            missing = missing_elements(header, present, assessment, catalogue_revision)
            return splice(header, missing) if missing else None
    added = public_elements(header, assessment, catalogue_revision)
    statement = b""
    if signer is not None:
        previous = b"" if present is None else present.statement
        public = public_half(header, added, assessment.state)
        subject = subject_of(header, digest)
        statement = signer.sign(assessment, subject, catalogue_revision, declaration_uri, previous, public)
    block = block_elements(header, assessment, catalogue_revision, digest, statement, declaration_uri)
    return splice(header, {**added, **block})


def _is_signed(header: Header, stamp: Stamp, digest: str, signer: Signer, trusted: TrustedKeys) -> bool:
    """Whether the key of `signer` or one in `trusted` has signed `stamp` for this object."""
    subject = subject_of(header, digest)
    keys = (TrustedKeys([signer.public_key]), trusted)
    return any(some.check(header, stamp, subject).word is Word.VALID for some in keys)


def _digest(header: Header) -> str:
    try:
        return pixel_digest(header)
    except HeaderError as problem:
        raise StampError(f"the pixels cannot be read, so no stamp can bind them: {problem}") from problem
