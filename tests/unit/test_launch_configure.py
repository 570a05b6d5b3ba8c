from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from launch import LaunchError, configure
from launch.roots import Installation

PYTHON, DICOMWEB, GDCM = "libOrthancPython.so", "libOrthancDicomWeb.so", "libOrthancGdcm.so"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of Orthanc plugins."""
    made = tmp_path / "plugins"
    made.mkdir()
    for name in (PYTHON, DICOMWEB, GDCM, "libServeFolders.so", "libOrthancPostgreSQLIndex.so", "readme.txt"):
        (made / name).touch()
    return made


@pytest.fixture
def orthanc(folder: Path) -> Installation:
    """An Orthanc of this machine with these plugins."""
    return Installation(None, folder / "Orthanc", (folder,), "3.13")


def names(listed: list[str]) -> list[str]:
    return [Path(entry).name for entry in listed]


def test_python_comes_first_and_every_plugin_is_named_by_file(orthanc: Installation, folder: Path) -> None:
    assert configure.plugins({}, orthanc) == [str(folder / name) for name in (PYTHON, DICOMWEB, GDCM)]


def test_a_plugin_folder_of_the_site_is_expanded_without_doubles(orthanc: Installation, folder: Path) -> None:
    listed = configure.plugins({"Plugins": [str(folder)]}, orthanc)
    assert names(listed) == [PYTHON, DICOMWEB, GDCM, "libServeFolders.so"]


def test_a_second_copy_of_our_plugins_is_left_out(orthanc: Installation, tmp_path: Path) -> None:
    copies = [tmp_path / "x" / f"{PYTHON}.5.0", tmp_path / "x" / DICOMWEB, tmp_path / "x" / "libMine.so"]
    for copy in copies:
        copy.parent.mkdir(exist_ok=True)
        copy.touch()
    listed = configure.plugins({"Plugins": [str(copy) for copy in copies]}, orthanc)
    assert names(listed) == [PYTHON, DICOMWEB, GDCM, "libMine.so"]
    assert listed[1].startswith(str(tmp_path / "plugins"))


def test_a_plugin_that_does_not_exist_is_left_out(orthanc: Installation) -> None:
    assert names(configure.plugins({"Plugins": ["/nowhere/libOther.so"]}, orthanc)) == [
        PYTHON,
        DICOMWEB,
        GDCM,
    ]


@pytest.mark.parametrize(("enabled", "loaded"), [(True, True), (False, False)])
def test_postgresql_is_loaded_only_where_the_site_enables_it(
    orthanc: Installation, folder: Path, enabled: bool, loaded: bool
) -> None:
    config = {"PostgreSQL": {"EnableIndex": enabled}, "Plugins": [str(folder)]}
    assert ("libOrthancPostgreSQLIndex.so" in names(configure.plugins(config, orthanc))) is loaded


def test_a_bare_orthanc_has_the_same_plugins_but_python(orthanc: Installation, folder: Path) -> None:
    listed = configure.plugins({"Plugins": [str(folder)]}, orthanc, with_python=False)
    assert names(listed) == [DICOMWEB, GDCM, "libServeFolders.so"]


def test_an_orthanc_without_a_plugin_that_we_need_is_refused(orthanc: Installation, folder: Path) -> None:
    (folder / PYTHON).unlink()
    with pytest.raises(LaunchError, match=PYTHON):
        configure.plugins({}, orthanc)


def test_a_cached_orthanc_names_its_plugins_as_it_sees_them(tmp_path: Path) -> None:
    inside = tmp_path / "usr/share/orthanc/plugins"
    inside.mkdir(parents=True)
    for name in (PYTHON, DICOMWEB):
        (inside / name).touch()
    seen = Path("/usr/share/orthanc/plugins")
    installation = Installation(tmp_path, Path("/usr/sbin/Orthanc"), (seen,), "3.13")
    assert configure.plugins({}, installation) == [str(seen / PYTHON), str(seen / DICOMWEB)]


def test_relative_paths_are_those_of_the_configurations_folder() -> None:
    config = {"StorageDirectory": "db", "LuaScripts": ["a.lua", "/b.lua"], "Plugins": "p", "Name": "db"}
    assert configure.absolute_paths(config, Path("/site")) == {
        "StorageDirectory": "/site/db",
        "LuaScripts": ["/site/a.lua", "/b.lua"],
        "Plugins": ["/site/p"],
        "Name": "db",
    }


def test_merging_keeps_everything_that_the_site_set_beside_it() -> None:
    config = {
        "Python": {"Verbose": True},
        "Name": "mine",
        "Provenance": {"Routes": {"research": {"Purpose": "x"}}},
    }
    added = {"Python": {"AllowThreads": True}, "Provenance": {"Routes": {"research": {"DicomPort": 1}}}}
    assert configure.overlay(config, added) == {
        "Python": {"Verbose": True, "AllowThreads": True},
        "Name": "mine",
        "Provenance": {"Routes": {"research": {"Purpose": "x", "DicomPort": 1}}},
    }
    assert config["Python"] == {"Verbose": True}, "the site's own is not touched"


def test_a_value_of_none_removes_a_key() -> None:
    assert configure.overlay({"A": 1, "B": {"C": 2, "D": 3}}, {"A": None, "B": {"C": None}}) == {
        "B": {"D": 3}
    }


@pytest.mark.parametrize(
    ("config", "given", "port"),
    [
        ({}, None, 8042),
        ({"HttpPort": 1}, None, 1),
        ({"HttpPort": 1}, 2, 2),
        ({}, 0, 0),
        ({"HttpPort": 0}, None, 0),
    ],
)
def test_ports_command_line_beats_configuration_beats_default(
    config: dict[str, Any], given: int | None, port: int
) -> None:
    assert configure.wanted_port(config, "HttpPort", given) == port


@pytest.mark.parametrize("value", ["8042", 70000, -1, None, True])
def test_what_is_no_port_is_refused_by_key(value: object) -> None:
    with pytest.raises(LaunchError, match="HttpPort"):
        configure.wanted_port({"HttpPort": value}, "HttpPort", None)


@pytest.mark.parametrize(
    ("config", "section"),
    [
        ({}, {}),
        ({"Provenance": {"Routes": {}}}, {}),
        ({"Provenance": {"Routes": {"research": {"DicomPort": 5}}}}, {"DicomPort": 5}),
        ({"Provenance": {"Routes": {"cohort": {}}}}, None),
    ],
)
def test_the_route_research_exists_unless_the_site_has_others_only(
    config: dict[str, Any], section: dict[str, Any] | None
) -> None:
    assert configure.research_section(config) == section


def test_the_sites_storage_stays_unless_data_is_given(tmp_path: Path) -> None:
    site = {"StorageDirectory": "/archive"}
    assert configure.storage(site, tmp_path, given=False) == {}
    assert configure.storage(site, tmp_path, given=True)["StorageDirectory"] == str(tmp_path)
    assert configure.storage({}, tmp_path, given=False)["IndexDirectory"] == str(tmp_path)


def test_a_new_data_folder_is_private(tmp_path: Path) -> None:
    made = configure.data_folder({}, tmp_path / "a" / "b", tmp_path)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_passwords_are_made_once_kept_and_private(tmp_path: Path) -> None:
    first = configure.credentials(tmp_path)
    assert set(first) == {"admin", "researcher"}
    assert configure.credentials(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert not set(configure.credentials(other).values()) & set(first.values())


def test_a_damaged_password_file_is_refused_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text('{"admin": "x"}')
    with pytest.raises(LaunchError, match="credentials"):
        configure.credentials(tmp_path)
    assert (tmp_path / "credentials.json").read_text() == '{"admin": "x"}'


def test_a_site_script_that_registers_the_package_is_kept(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import orthanc, orthanc_provenance\northanc_provenance.register(orthanc)\n"
    )
    assert configure.script({"PythonScript": "own.py"}, tmp_path) == tmp_path / "own.py"
    assert configure.script({}, tmp_path) == configure.SCRIPT


def test_a_site_script_that_does_not_register_the_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import orthanc\n")
    with pytest.raises(LaunchError, match=r"own\.py.*register\(orthanc\)"):
        configure.script({"PythonScript": "own.py"}, tmp_path)


def test_paths_below_usr_are_found_wherever_they_are_named() -> None:
    config = {"A": ["/usr/bin", "x"], "B": {"C": "/usr/bin/env"}, "D": "/usr/none", "E": "/etc", "F": 1}
    found = list(configure.paths_below_usr(config))
    assert found == [Path("/usr/bin"), Path("/usr/bin/env").resolve()]
