"""The way of one instance: header → evidence → assessment → stamp → record.

This is the page to read first. It knows neither Orthanc nor the index; `host` calls it with bytes as they
arrive, `index.reconcile` with bytes that lie in the archive already.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .assessment import assess
from .dicom.digest import pixel_digest
from .dicom.header import DEFLATED_SYNTAXES, Header, read_header
from .errors import HeaderError, StampError
from .evidence.catalogue import Catalogue
from .index.record import (
    INSTANCE_ATTRIBUTES,
    SERIES_ATTRIBUTES,
    STUDY_ATTRIBUTES,
    Record,
    attributes,
    orthanc_identifiers,
)
from .index.rows import read_assessment
from .lineage import says_more
from .model import Assessment
from .stamp.apply import apply
from .stamp.block import read_stamp, read_stamps
from .stamp.elements import claims_unlabelled
from .stamp.received import weigh
from .stamp.statement import Signer
from .stamp.trust import NO_KEYS, TrustedKeys

log = logging.getLogger(__name__)

LARGE = 64 << 20
"""Bytes from which on an object is digested and stamped after it is stored, see `Intake.glance`."""

_SOP_INSTANCE = 0x00080018
_SYNTHETIC_DATA = 0x0008001C


@dataclass(frozen=True, slots=True)
class Received:
    """What became of one instance: its record, and the bytes to store instead (None: keep it as it is).

    The record of one that is not `is_final` is made again from the archive before anything leaves.
    """

    record: Record
    stamped: bytes | None
    is_final: bool = True


def assess_received(
    header: Header, catalogue: Catalogue, trusted: TrustedKeys = NO_KEYS, digest: str | None = None
) -> Assessment:
    """The assessment of an object as it came, which may carry stamps, or what is left of them.

    A stamp is evidence where a key in `trusted` signed it for these pixels, whose digest is `digest` (None:
    not known). Any other is only believed where it closes: "unlabelled", because the SyntheticData beside it
    may be its own, and an origin more suspicious than what the rest of the header still tells.
    """
    assessment = assess(header, catalogue, claimed_unlabelled=claims_unlabelled(header))
    return weigh(assessment, header, trusted, digest)


class Intake:
    """Assesses and stamps instances with one catalogue; `stamp` is the setting `All`, `Synthetic`, `None`.

    Stamps are signed by `signer`, if there is one, and those of the keys in `trusted` are believed.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        stamp: str,
        signer: Signer | None = None,
        trusted: TrustedKeys = NO_KEYS,
    ) -> None:
        self._catalogue = catalogue
        self._stamp = stamp
        self._signer = signer
        self._trusted = trusted

    def receive(self, data: bytes, *, write_stamp: bool = True) -> Received:
        """Assess the object in `data` and stamp it; with `write_stamp` off only try whether it takes a stamp.

        Raises HeaderError where `data` cannot be read. An object that can take no stamp is kept as it is, and
        the reason in its record keeps it out of research.
        """
        header = read_header(data)
        digest = _stamped_digest(header)
        assessment = assess_received(header, self._catalogue, self._trusted, digest)
        record = self.record(header, assessment)
        try:
            _refuse_ambiguous(header)
            record = replace(record, pixel_digest=pixel_digest(header) if digest is None else digest)
            if not self._wants_stamp(assessment):
                return Received(record, None)
            stamped = self._apply(header, assessment, self._catalogue.revision, record.pixel_digest)
        except (HeaderError, StampError) as problem:
            log.warning("no stamp for SOP instance %s: %s", record.instance["SOPInstanceUID"], problem)
            return Received(
                replace(record, assessment=replace(assessment, reason=f"no stamp: {problem}")), None
            )
        if stamped is None:
            return Received(replace(record, stamped=True, seal=_seal(header, data, record)), None)
        if not write_stamp:
            return Received(record, None)
        return Received(replace(record, stamped=True, seal=_seal(header, stamped, record)), stamped)

    def glance(self, data: bytes) -> Record:
        """What the header of the object in `data` tells, without a look at its pixels, and without a stamp.

        For what cannot be settled before it is stored: a large object, whose digest would hold up everything
        else that arrives, and one that is kept as it is. Raises HeaderError as `receive` does.
        """
        header = read_header(data)
        return self.record(header, assess_received(header, self._catalogue, self._trusted))

    def stamp_on_exit(self, data: bytes, row: Mapping[str, Any]) -> bytes:
        """`data` as it may leave: stamped with the assessment in its index `row` if it is not stamped yet.

        Raises HeaderError or StampError where `data` is not the object that was assessed: the archive may
        hold another under the same identifiers by now, of which the index does not know yet. The pixels of
        one that was stored with its stamp are not digested again: their size and the signed digest leave with
        them, and whoever gets them can verify these.
        """
        if row["stamped"] and _is_sealed(data, row):
            return data
        assessment, header = read_assessment(row), read_header(data)
        if header.text(_SOP_INSTANCE) != row["SOPInstanceUID"]:
            raise StampError("the archive holds an object with another SOP Instance UID")
        _refuse_ambiguous(header)
        if pixel_digest(header) != row["pixel_digest"]:
            raise StampError("the archive holds an object with other pixels than were assessed")
        if row["stamped"]:
            stamp = read_stamp(header)
            if stamp is None or not stamp.agrees_with(assessment, row["pixel_digest"]):
                raise StampError("the archive holds an object without the stamp that was written into it")
            return data
        _refuse_suspicion(header, assessment)
        if not self._wants_stamp(assessment):
            return data
        stamped = self._apply(header, assessment, row["catalogue"], row["pixel_digest"])
        return data if stamped is None else stamped

    def restamp(self, data: bytes, row: Mapping[str, Any]) -> bytes:
        """`data`, transcoded from what `stamp_on_exit` gave for `row`, with a stamp that binds its pixels.

        Raises HeaderError or StampError where it is another object, or cannot take that stamp.
        """
        assessment, header = read_assessment(row), read_header(data)
        if header.text(_SOP_INSTANCE) != row["SOPInstanceUID"]:
            raise StampError("transcoding has made another SOP Instance of it")
        if not self._wants_stamp(assessment):
            return data
        stamped = self._apply(header, assessment, row["catalogue"], None)
        return data if stamped is None else stamped

    def _apply(
        self, header: Header, assessment: Assessment, revision: str, digest: str | None
    ) -> bytes | None:
        signer, trusted = self._signer, self._trusted
        return apply(header, assessment, revision, digest, signer=signer, trusted=trusted)

    def _wants_stamp(self, assessment: Assessment) -> bool:
        if self._stamp == "Synthetic":
            return assessment.origin.may_be_labelled
        return self._stamp == "All"

    def record(self, header: Header, assessment: Assessment) -> Record:
        """What the index keeps of the object of `header`, whose pixels have not been looked at."""
        says = header.text(_SYNTHETIC_DATA).upper()
        return Record(
            identifiers=orthanc_identifiers(header),
            study=attributes(header, STUDY_ATTRIBUTES),
            series=attributes(header, SERIES_ATTRIBUTES),
            instance=attributes(header, INSTANCE_ATTRIBUTES),
            assessment=assessment,
            synthetic_data="YES" if says == "YES" or assessment.origin.is_synthetic else "NO",
            catalogue=self._catalogue.revision,
        )


def _refuse_ambiguous(header: Header) -> None:
    """Raises StampError where tags repeat: some readers take the first of two elements, others the last, and
    no assessment speaks for both.
    """
    if not header.ordered:
        raise StampError("the tags of the data set repeat or descend; it is left as it came")


def _refuse_suspicion(header: Header, assessment: Assessment) -> None:
    """Raises StampError where a stamp in the object is more suspicious than `assessment`, which knew of none
    such: these are not the bytes that were assessed.
    """
    for stamp in read_stamps(header):
        origin = stamp.origin
        if origin is not None and origin.may_be_labelled and says_more(Assessment(origin), assessment):
            raise StampError(f"the archive holds an object with a stamp that says {origin.value}")


def _stamped_digest(header: Header) -> str | None:
    """The pixel digest of an object that carries a stamp, which speaks of it; None without, or without pixels
    that can be read.
    """
    if read_stamp(header) is None:
        return None
    try:
        return pixel_digest(header)
    except HeaderError:
        return None


def _seal(header: Header, stored: bytes, record: Record) -> str:
    """What tells `stored` again: its size, and size and digest of its header with what it was stamped as.

    `header` is that of the object before its stamp, which was put in front of the pixels. "" for a deflated
    object, whose header lies in other bytes than are stored.
    """
    if header.transfer_syntax in DEFLATED_SYNTAXES:
        return ""
    size = header.pixel_start + len(stored) - len(header.buffer)
    assessment, privacy = record.assessment, record.assessment.privacy
    flags = (privacy.identity_removed, privacy.defaced, assessment.labelled)
    said = (assessment.state.value, assessment.origin.value, *flags, record.pixel_digest)
    return f"{len(stored)}:{size}:{_header_digest(stored, size, said)}"


def _is_sealed(data: bytes, row: Mapping[str, Any]) -> bool:
    """Whether `data` has the header that was stored for `row`, which still says what that is stamped as."""
    seal: str = row["seal"]
    whole, _, rest = seal.partition(":")
    size, _, digest = rest.partition(":")
    if not digest or len(data) != int(whole):
        return False
    names = ("state", "origin", "identity_removed", "defaced", "labelled", "pixel_digest")
    return _header_digest(data, int(size), tuple(row[name] for name in names)) == digest


def _header_digest(data: bytes, size: int, said: tuple[str | bool, ...]) -> str:
    digest = hashlib.sha256(memoryview(data)[:size])
    digest.update(repr(said).encode("utf-8"))
    return digest.hexdigest()
