"""Lua scripts that route and change images do, and stop, as they do without the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dimse import SINK, Sink, running_sink
from pair import Pair, Side, alike, encoded, eventually, report, running_pair, shown, study, tree, uid

pytestmark = pytest.mark.orthanc

SCRIPT = Path(__file__).with_name("routing.lua")
ENDED = ("Success", "Failure")
# Where the script tells by the station what to do with an image, and by the description with a study.
STATIONS = ("ROUTE", "ROUTE-AND-DELETE", "REPOST")
STABLE = {"MODIFY": "ModifiedFrom", "ANONYMIZE": "AnonymizedFrom"}


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with running_sink() as running:
        yield running


@pytest.fixture(scope="module")
def pair(orthanc_version: str, sink: Sink) -> Iterator[Pair]:
    config = {
        "LuaScripts": [str(SCRIPT)],
        "StableAge": 1,
        "DicomModalities": {"sink": [SINK, "127.0.0.1", sink.port]},
    }
    with running_pair(orthanc_version, config) as made:
        yield made


@pytest.fixture(scope="module")
def played(pair: Pair, sink: Sink) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the scripts made of everything, on the bare server and with the plugin."""
    return play(pair.bare, sink), play(pair.plugin, sink)


def play(side: Side, sink: Sink) -> dict[str, Any]:
    """Stores a study for each thing that the script does, and waits until it is through with all of them."""
    for station in STATIONS:
        side.upload(encoded(one) for one in study(f"lua-{station}", StationName=station))
    for wanted in STABLE:
        side.upload(encoded(one) for one in study(f"lua-{wanted}", StudyDescription=wanted))
    for what, times in [(f"instance of station {one}", 6) for one in STATIONS] + [
        (f"study {one}", 2) for one in STABLE
    ]:
        eventually(lambda what=what: seen(side, what), lambda count, times=times: count >= times)
    eventually(lambda: side.get("/jobs?expand"), lambda jobs: all(job["State"] in ENDED for job in jobs))
    received = sorted(map(shown, sink.take()), key=lambda one: str(one["7FE00010"]))
    return {
        "jobs": sorted({(job["Type"], job["State"]) for job in side.get("/jobs?expand")}),
        "seen": {station: seen(side, f"instance of station {station}") for station in STATIONS},
        "received": {
            station: [one for one in received if one["00081010"]["Value"] == [station]]
            for station in STATIONS
        },
        **{station: trees(side, {"StudyInstanceUID": uid(f"lua-{station}")}) for station in STATIONS},
        **{wanted: trees(side, {"StudyDescription": wanted}) for wanted in STABLE},
    }


def seen(side: Side, what: str) -> int:
    """How often the script said that it was through with something of this kind."""
    return side.server.log().count(f"routing saw {what}\n")


def trees(side: Side, query: dict[str, str]) -> list[dict[str, Any]]:
    """The studies that match `query`, sources before copies."""
    found = [tree(side, identifier) for identifier in side.find("Study", query)]
    for one in found:
        for resource in (one["study"], *one["series"]):
            # Depends on the second in which one asks.
            del resource["IsStable"]
    return sorted(found, key=lambda one: any(name in one["study"] for name in STABLE.values()))


@pytest.mark.parametrize("station", ["ROUTE", "ROUTE-AND-DELETE"])
def test_routing_of_modified_images_stops(
    pair: Pair, played: tuple[dict[str, Any], dict[str, Any]], station: str
) -> None:
    bare, plugin = played
    for what in (station, "jobs"):
        alike(bare[what], plugin[what])
    alike(bare["received"][station], plugin["received"][station])
    assert bare["seen"][station] == plugin["seen"][station] == 6
    assert [one["00081030"]["Value"] for one in plugin["received"][station]] == [["routed"]] * 3
    modified = ["ModifiedFrom" in instance["metadata"] for instance in plugin[station][0]["instances"]]
    assert sorted(modified) == ([False] * 3 + [True] * 3 if station == "ROUTE" else [False] * 3)
    found = report(pair.plugin, uid(f"lua-{station}"))
    assert sum(len(series["instances"]) for series in found["series"]) == len(modified)
    assert found["routes"]["research"]["verdict"] == "release"


def test_a_script_that_stores_while_an_image_is_stored_does_not_hang(
    pair: Pair, played: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    bare, plugin = played
    (stored,) = alike(bare["REPOST"], plugin["REPOST"])
    assert [one["metadata"]["Origin"] for one in stored["instances"]].count("Lua") == 3
    found = report(pair.plugin, uid("lua-REPOST"))
    assert sum(len(series["instances"]) for series in found["series"]) == 6
    assert found["routes"]["research"]["verdict"] == "release"


@pytest.mark.parametrize("wanted", STABLE)
def test_work_on_stable_studies_stops(played: tuple[dict[str, Any], dict[str, Any]], wanted: str) -> None:
    bare, plugin = played
    source, copy = alike(bare[wanted], plugin[wanted])
    assert STABLE[wanted] not in source["study"]["metadata"]
    assert all(STABLE[wanted] in one["metadata"] for one in (copy["study"], *copy["instances"]))
