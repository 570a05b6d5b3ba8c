"""De-identification takes elements away. What is gone never makes of a real object an artificial one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from evidence_corpus import attributes, cases
from evidence_samples import ENTRY, Table, load_site, shipped

from orthanc_provenance.assessment import assess
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.evidence.guard import Guard
from orthanc_provenance.evidence.marker import Marker
from orthanc_provenance.model import Axis, Origin

SOP_CLASS = "SOPClassUID"
MADE = frozenset({Origin.AI_DERIVED, Origin.AI_GENERATED, Origin.SIMULATED})
STRUCTURED = [
    marker for marker in shipped().markers if marker.axis is Axis.ORIGIN and marker.strength.is_structured
]
PROFILE = attributes("basic_profile")
DEVICE = frozenset({"Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"})


def tables() -> Iterator[tuple[str, Table]]:
    """Headers of real objects, and what the entries of the catalogue hold to be real."""
    for family in ("acquired", "friends", "phrases-real"):
        yield from ((f"{family}/{case.name}", case.header) for case in cases(family))
    for marker in STRUCTURED:
        yield from ((f"{marker.id} {table}", dict(table)) for table in marker.no_match)
    for friend in shipped().false_friends:
        if not {"ai-derived", "ai-generated", "simulated"} - set(friend.never):
            yield from ((f"{friend.id} {table}", dict(table)) for table in friend.examples)


TABLES = [pytest.param(table, id=name) for name, table in tables()]


def origin(table: Table) -> Origin:
    return assess(example_header(table), shipped()).origin


def without(table: Table, gone: frozenset[str]) -> Table:
    return {key: value for key, value in table.items() if key not in gone}


def emptied(table: Table, gone: frozenset[str]) -> Table:
    return {
        key: ("" if isinstance(value, str) else []) if key in gone else value for key, value in table.items()
    }


def removable(table: Table) -> Iterator[frozenset[str]]:
    """Each element by itself, and what a profile takes, with and without the device. No profile takes the SOP
    class, without which an object cannot be stored."""
    yield from (frozenset({key}) for key in table if key != SOP_CLASS)
    for gone in (PROFILE, PROFILE - DEVICE, PROFILE | DEVICE, PROFILE | DEVICE | {"Modality", "ImageType"}):
        yield gone & table.keys()


@pytest.mark.parametrize("table", TABLES)
def test_nothing_that_is_taken_away_makes_a_real_object_an_artificial_one(table: Table):
    assert origin(table) not in MADE
    for gone in removable(table):
        assert origin(without(table, gone)) not in MADE, gone
        assert origin(emptied(table, gone)) not in MADE, gone


def absence_speaks(marker: Marker) -> list[str]:
    """The guards of `marker` that come to hold where an element is gone: all but those on the SOP class, and
    on the only attribute that the marker reads."""
    own = {SOP_CLASS} | ({marker.paths[0].text} if len(marker.paths) == 1 else set())
    return [guard.text for guard in marker.guards if _comes_to_hold(guard, own)]


def _comes_to_hold(guard: Guard, own: set[str]) -> bool:
    asked = (
        path.text
        for condition in guard.conditions
        if (condition.pattern is None) is not guard.negated
        for path in condition.paths
    )
    return any(path not in own for path in asked)


@pytest.mark.parametrize("marker", STRUCTURED, ids=lambda marker: marker.id)
def test_no_structured_marker_of_origin_is_let_loose_by_what_is_gone(marker: Marker):
    assert absence_speaks(marker) == []


@pytest.mark.parametrize(
    ("guard", "speaks"),
    [
        ('guard.unless = [{ attribute = "Modality", equals = "US" }]', True),
        (
            'guard.unless = [{ all = [{ attribute = "SOPClassUID", equals = "1" },'
            ' { attribute = "Modality", equals = "US" }] }]',
            True,
        ),
        ('guard.attributes = [{ attribute = "DeviceSerialNumber", absent = true }]', True),
        ('guard.unless = [{ attribute = "DeviceSerialNumber", absent = true }]', False),
        ('guard.unless = [{ attribute = "SOPClassUID", equals = "1" }]', False),
        ('guard.unless = [{ attribute = "Manufacturer", token = "Xoran" }]', False),
        ("guard.attributes = [{ attribute = \"Modality\", regex = '^(?!US$).' }]", False),
    ],
)
def test_what_lets_a_marker_loose_is_known(tmp_path: Path, guard: str, speaks: bool):
    modality = 'Manufacturer = "Dream Factory", Modality = "CT"'
    entry = ENTRY.replace("examples.match", f"{guard}\nexamples.match").replace(
        'Manufacturer = "Dream Factory" }', f'{modality}, DeviceSerialNumber = "1" }}'
    )
    if 'attributes = [{ attribute = "DeviceSerialNumber"' in guard:
        entry = entry.replace(', DeviceSerialNumber = "1"', "")
    catalogue = load_site(tmp_path, site=entry)
    assert catalogue.problems == ()
    (marker,) = (marker for marker in catalogue.markers if marker.id == "site.generator")
    assert bool(absence_speaks(marker)) is speaks


def test_a_marker_of_several_attributes_is_let_loose_where_one_of_them_is_gone(tmp_path: Path):
    entry = ENTRY.replace(
        'attributes = "Manufacturer"', 'attributes = ["Manufacturer", "ManufacturerModelName"]'
    )
    guard = 'guard.unless = [{ attribute = "Manufacturer", token = "Xoran" }]'
    catalogue = load_site(tmp_path, site=entry.replace("examples.match", f"{guard}\nexamples.match"))
    (marker,) = (marker for marker in catalogue.markers if marker.id == "site.generator")
    assert absence_speaks(marker) == ["unless Manufacturer token Xoran"]
