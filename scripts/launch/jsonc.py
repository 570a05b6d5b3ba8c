"""Reads Orthanc's configuration: JSON with comments and `${VARIABLES}`, in one file or a folder of files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import LaunchError

# A string is matched first, so that what looks like a comment inside one stays.
_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_STRING_OR_TRAILING_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])', re.DOTALL)
_VARIABLE = re.compile(r"""\$\{([^{}:]*)(?::-(?:"([^"]*)"|'([^']*)'|([^{}"']*)))?\}""")


def blank_comments(text: str) -> str:
    """The text with comments and trailing commas turned into spaces: errors keep their line and column."""

    def blank(match: re.Match[str]) -> str:
        found = match.group(0)
        return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)

    return _STRING_OR_TRAILING_COMMA.sub(blank, _STRING_OR_COMMENT.sub(blank, text))


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """`${NAME}` and `${NAME:-default}` replaced as Orthanc does it: on the text, before JSON and comments.

    Quotes around the default are dropped; an unset name without a default is empty.
    """

    def value(match: re.Match[str]) -> str:
        name, *defaults = match.groups()
        return variables.get(name, "".join(default for default in defaults if default))

    return _VARIABLE.sub(value, text)


def parse(text: str, where: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The configuration in `text`. Like Orthanc, ignores what follows the closing brace.

    `where` names the file in the error. Raises LaunchError with file, line and column.
    """
    text = substitute(text.removeprefix("\ufeff"), os.environ if variables is None else variables)
    text = blank_comments(text)
    start = len(text) - len(text.lstrip())
    try:
        # strict=False: Orthanc accepts tabs and line ends inside strings.
        config, _ = json.JSONDecoder(strict=False).raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise LaunchError(
            f"the configuration {where} is no JSON at line {error.lineno}, column {error.colno}: {error.msg}",
            "correct it there",
        ) from error
    if not isinstance(config, dict):
        raise LaunchError(f"the configuration {where} is no JSON object", "write it as { ... }")
    return config


def read(path: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The configuration in a file, or in all `*.json` files of a folder together.

    Raises LaunchError: nothing readable there, no JSON, or one section in two files (Orthanc refuses it too).
    """
    if not path.is_dir():
        return parse(_text(path), str(path), variables)
    files = sorted(path.glob("*.json"))
    if not files:
        raise LaunchError(
            f"the configuration folder {path} has no *.json file", "give a file, or a folder that has some"
        )
    merged: dict[str, Any] = {}
    source: dict[str, Path] = {}
    for file in files:
        for key, value in parse(_text(file), str(file), variables).items():
            if key in merged:
                raise LaunchError(f"{key} is defined both in {source[key]} and in {file}", "keep one of them")
            merged[key] = value
            source[key] = file
    return merged


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LaunchError(f"the configuration {path} is not UTF-8 text", "save it as UTF-8") from error
    except OSError as error:
        raise LaunchError(
            f"the configuration {path} cannot be read ({error.strerror})", "check the path after --config"
        ) from error
