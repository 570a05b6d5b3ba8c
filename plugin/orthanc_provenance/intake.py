"""The way of one instance: header → evidence → assessment → stamp → record.

This is the page to read first. It knows neither Orthanc nor the index; `host` calls it with bytes as they
arrive, `index.reconcile` with bytes that lie in the archive already.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .assessment import assess
from .dicom.digest import pixel_digest
from .dicom.header import Header, read_header
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
from .lineage import inherit
from .model import Assessment
from .stamp.apply import apply
from .stamp.block import read_stamp
from .stamp.elements import claimed_states, claims_unlabelled

log = logging.getLogger(__name__)

_SOP_INSTANCE = 0x00080018
_SYNTHETIC_DATA = 0x0008001C


@dataclass(frozen=True, slots=True)
class Received:
    """What became of one instance: its record, and the bytes to store instead (None: keep it as it is)."""

    record: Record
    stamped: bytes | None


def assess_received(header: Header, catalogue: Catalogue) -> Assessment:
    """The assessment of an object as it came, which may carry a stamp, or what is left of one.

    Unsigned, a stamp is only believed where it closes: "unlabelled", because the SyntheticData beside it may
    be its own, and an origin more suspicious than what the rest of the header still tells.
    """
    unlabelled = claims_unlabelled(header)
    assessment = assess(header, catalogue, claimed_unlabelled=unlabelled)
    for state in claimed_states(header):
        claimed = Assessment(state.origin, labelled=not unlabelled)
        assessment = inherit(assessment, claimed, "ContributingEquipmentSequence")
    return assessment


class Intake:
    """Assesses and stamps instances with one catalogue; `stamp` is the setting `All`, `Synthetic`, `None`."""

    def __init__(self, catalogue: Catalogue, stamp: str) -> None:
        self._catalogue = catalogue
        self._stamp = stamp

    def receive(self, data: bytes, *, write_stamp: bool = True) -> Received:
        """Assess the object in `data` and stamp it; with `write_stamp` off only try whether it takes a stamp.

        Raises HeaderError where `data` cannot be read. An object that can take no stamp is kept as it is, and
        the reason in its record keeps it out of research.
        """
        header = read_header(data)
        assessment = assess_received(header, self._catalogue)
        record = self._record(header, assessment)
        try:
            record = replace(record, pixel_digest=pixel_digest(header))
            if not self._wants_stamp(assessment):
                return Received(record, None)
            stamped = apply(header, assessment, self._catalogue.revision, record.pixel_digest)
        except (HeaderError, StampError) as problem:
            log.warning("no stamp for SOP instance %s: %s", record.instance["SOPInstanceUID"], problem)
            return Received(
                replace(record, assessment=replace(assessment, reason=f"no stamp: {problem}")), None
            )
        if stamped is None:
            return Received(replace(record, stamped=True), None)
        return Received(replace(record, stamped=write_stamp), stamped if write_stamp else None)

    def stamp_on_exit(self, data: bytes, row: Mapping[str, Any]) -> bytes:
        """`data` as it may leave: stamped with the assessment in its index `row` if it is not stamped yet.

        Raises HeaderError or StampError where `data` is not the object that was assessed: the archive may
        hold another under the same identifiers by now, of which the index does not know yet.
        """
        assessment, header = read_assessment(row), read_header(data)
        if header.text(_SOP_INSTANCE) != row["SOPInstanceUID"]:
            raise StampError("the archive holds an object with another SOP Instance UID")
        if row["stamped"]:
            stamp = read_stamp(header)
            if stamp is None or not stamp.agrees_with(assessment, row["pixel_digest"]):
                raise StampError("the archive holds an object without the stamp that was written into it")
            return data
        if pixel_digest(header) != row["pixel_digest"]:
            raise StampError("the archive holds an object with other pixels than were assessed")
        if not self._wants_stamp(assessment):
            return data
        stamped = apply(header, assessment, row["catalogue"], row["pixel_digest"])
        return data if stamped is None else stamped

    def _wants_stamp(self, assessment: Assessment) -> bool:
        if self._stamp == "Synthetic":
            return assessment.origin.may_be_labelled
        return self._stamp == "All"

    def _record(self, header: Header, assessment: Assessment) -> Record:
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
