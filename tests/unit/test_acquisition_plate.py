"""Computed radiography without dates and serial numbers: what the reader wrote of the plate is enough."""

from __future__ import annotations

import pytest
from evidence_samples import Table, shipped

from orthanc_provenance.assessment import assess
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.model import Origin

PLATE: Table = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
    "Modality": "CR",
    "Manufacturer": "KONICA MINOLTA",
    "ManufacturerModelName": "0013",
    "SoftwareVersions": "Ver1.60R02E",
    "CassetteSize": "14INX17IN",
    "RelativeXRayExposure": "437",
}


def origin_of(table: Table) -> Origin:
    return assess(example_header(table), shipped()).origin


def test_exposure_and_cassette_beside_a_named_reader_are_an_acquisition():
    assert origin_of(PLATE) is Origin.ACQUIRED


@pytest.mark.parametrize(
    "missing", ["Manufacturer", "SoftwareVersions", "CassetteSize", "RelativeXRayExposure"]
)
def test_none_of_them_is_dispensable(missing: str):
    assert origin_of({key: value for key, value in PLATE.items() if key != missing}) is Origin.UNDETERMINED


@pytest.mark.parametrize("name", ["CassetteSize", "RelativeXRayExposure"])
def test_what_converters_leave_empty_or_at_zero_counts_as_missing(name: str):
    assert origin_of({**PLATE, name: ""}) is Origin.UNDETERMINED
    assert origin_of({**PLATE, name: "0"}) is Origin.UNDETERMINED
