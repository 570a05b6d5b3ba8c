"""What a copy inherits once its source is gone, replaced, or not written yet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archive_fixture import DERIVED, LABELLED, ORIGINAL, UNLABELLED, Archive, make_record
from dicom_samples import encode, image

from orthanc_provenance.errors import NotStored
from orthanc_provenance.index.ancestry import Ancestry
from orthanc_provenance.index.archive import Description
from orthanc_provenance.index.record import Record
from orthanc_provenance.index.writer import Put
from orthanc_provenance.model import Assessment, Modifier, Origin

SOURCE = "0" * 44


def nothing(instance: str) -> Record | str:
    raise NotStored(instance)


@pytest.fixture
def ancestry(archive: Archive) -> Ancestry:
    """In an archive that holds no source any more."""
    return Ancestry(archive.engine, archive.writer, archive.pending, nothing)


def copy(found: Assessment = ORIGINAL) -> Record:
    data = encode(image(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", SOPInstanceUID="1.9.1.1"))
    return make_record(data, found)


def described(record: Record, source: str = SOURCE, **metadata: str) -> Description:
    return Description(record.identifiers, {}, {"AnonymizedFrom": source, **metadata})


def test_a_copy_inherits_from_a_source_whose_row_is_still_queued(
    archive: Archive, ancestry: Ancestry
) -> None:
    source = make_record(encode(image(SOPInstanceUID="1.2.3")), UNLABELLED)
    archive.pending.announce(source, thread=1, closes_study=True)
    archive.writer.submit(Put(source))
    record = copy()
    found = ancestry.inherited(record, described(record, source.identifiers.instance))
    assert found.assessment.origin is Origin.AI_GENERATED
    assert found.synthetic_data == "YES"


def test_a_copy_of_a_deleted_source_keeps_what_it_inherited(archive: Archive, ancestry: Ancestry) -> None:
    before = replace(copy(UNLABELLED), source=SOURCE)
    archive.writer.submit(Put(before))
    archive.flush()
    record = copy()
    found = ancestry.inherited(record, described(record)).assessment
    assert found.origin is Origin.AI_GENERATED
    assert found.modifiers == (Modifier.INHERITED,)


def test_what_was_inherited_from_another_source_is_no_matter(archive: Archive, ancestry: Ancestry) -> None:
    archive.writer.submit(Put(replace(copy(UNLABELLED), source="1" * 44)))
    archive.flush()
    record = copy()
    assert ancestry.inherited(record, described(record)).assessment == ORIGINAL


def test_a_source_that_was_replaced_by_a_harmless_object_opens_no_copy(
    archive: Archive, ancestry: Ancestry
) -> None:
    source = archive.put("1.2", "1.2.1", "1.2.1.1", ORIGINAL)
    archive.writer.submit(Put(replace(copy(UNLABELLED), source=source)))
    archive.flush()
    record = copy()
    found = ancestry.inherited(record, described(record, source)).assessment
    assert found.origin is Origin.AI_GENERATED
    # A new catalogue thinks anew of the source, and so of its copy.
    newer = replace(record, catalogue="test-2")
    assert ancestry.inherited(newer, described(record, source)).assessment == ORIGINAL


@pytest.mark.parametrize("state", ["ai-generated", "simulated", "ai-derived"])
def test_without_any_row_the_mirrored_state_closes(state: str, ancestry: Ancestry) -> None:
    record = copy()
    found = ancestry.inherited(record, described(record, **{"9901": state})).assessment
    assert found.origin is Origin(state)
    assert not found.labelled


@pytest.mark.parametrize("state", ["original", "privacy-protected", "acquired", "undetermined", "x", ""])
def test_a_mirrored_state_never_opens_anything(state: str, ancestry: Ancestry) -> None:
    for assessment in (ORIGINAL, UNLABELLED, LABELLED, DERIVED, Assessment(Origin.UNDETERMINED)):
        record = copy(assessment)
        assert ancestry.inherited(record, described(record, **{"9901": state})).assessment == assessment


def test_a_copy_of_what_vanished_before_it_was_assessed_stays_out(ancestry: Ancestry) -> None:
    ancestry.vanished(SOURCE)
    record = copy()
    assert "deleted" in ancestry.inherited(record, described(record)).assessment.reason


def test_what_has_no_source_is_left_alone(ancestry: Ancestry) -> None:
    record = copy()
    alone = Description(record.identifiers, {}, {"9901": "ai-generated"})
    assert ancestry.inherited(record, alone) is record
