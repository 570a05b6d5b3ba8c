from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import LaunchError, configure, jsonc

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=6), below, max_size=3),
    max_leaves=8,
)


def parse(text: str, **variables: str) -> dict[str, Any]:
    return jsonc.parse(text, "test.json", variables)


def test_comments_of_both_kinds_are_ignored() -> None:
    assert parse('// head\n{ /* a\n * b */ "A": 1, // end\n "B": [2 /**/, 3] }') == {"A": 1, "B": [2, 3]}


def test_what_looks_like_a_comment_in_a_string_stays() -> None:
    text = r'{"Url": "http://host/*x*/", "Quote": "a\"//b", "Back": "c:\\" /* "z" */}'
    assert parse(text) == {"Url": "http://host/*x*/", "Quote": 'a"//b', "Back": "c:\\"}


def test_text_after_the_object_and_trailing_commas_are_ignored() -> None:
    assert parse('{"A": [1, 2,], "B": ",]",} } what else {') == {"A": [1, 2], "B": ",]"}


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=4))
def test_plain_json_means_what_it_means_without_us(value: dict[str, Any]) -> None:
    assert parse(json.dumps(value, indent=1).replace("$", "\\u0024")) == value


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"${SET}"', "yes"),
        ('"${SET:-no}"', "yes"),
        ('"${UNSET}"', ""),
        ("${UNSET:-42}", 42),
        ('"${UNSET:-a b}"', "a b"),
        ("\"${UNSET:-'abc'}\"", "abc"),
        ('"${UNSET:-"abc"}"', "abc"),
        ("\"${UNSET:-'}'}\"", "}"),
        ('"${UNSET:-a:-b}"', "a:-b"),
        ('"$UNSET"', "$UNSET"),
        ('"${UNSET:-\'a}"', "${UNSET:-'a}"),
    ],
)
def test_variables_are_replaced_as_orthanc_replaces_them(written: str, read: object) -> None:
    assert parse(f'{{"A": {written}}}', SET="yes") == {"A": read}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{\n "A": 1\n "B": 2\n}', "line 3, column 2"),
        ('{ /* one\n two\n */ "A": 80 80 }', "line 3, column 13"),
        ('{ "A": 1', "line 1"),
        ("", "line 1, column 1"),
    ],
)
def test_bad_json_is_refused_with_file_and_place(text: str, place: str) -> None:
    with pytest.raises(LaunchError, match=f"test.json is no JSON at {place}"):
        parse(text)


def test_something_else_than_an_object_is_refused() -> None:
    with pytest.raises(LaunchError, match="no JSON object"):
        parse("[1]")


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"A": 1}')
    (tmp_path / "b.json").write_text('{"B": 2} // fine')
    (tmp_path / "c.txt").write_text("not read")
    assert jsonc.read(tmp_path, {}) == {"A": 1, "B": 2}


def test_a_section_in_two_files_of_a_folder_is_refused_with_both_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"Name": 1}')
    (tmp_path / "b.json").write_text('{"Name": 2}')
    with pytest.raises(LaunchError, match=r"Name is defined both in .*a\.json and in .*b\.json"):
        jsonc.read(tmp_path, {})


@pytest.mark.parametrize("content", [None, b"\xff\xfe{}"])
def test_an_unreadable_file_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "orthanc.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LaunchError, match=r"orthanc\.json"):
        jsonc.read(file, {})


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"no \*\.json file"):
        jsonc.read(tmp_path, {})


def test_the_shipped_configuration_is_closed_by_default() -> None:
    config = jsonc.read(configure.SHIPPED, {})
    assert config["RemoteAccessAllowed"] is False
    assert config["AuthenticationEnabled"] is True
    assert config["WebDavEnabled"] is False
    assert config["ExecuteLuaEnabled"] is False
    assert "RegisteredUsers" not in config, "passwords are never fixed ones"
