"""Headers written by hand from what vendors, tools and papers say: `corpus/*.toml`.

A case has a `name`, a `header`, and perhaps a `base`: another case whose attributes it has where it names
none itself. `origin` are the origins that are right, `modifiers` some that must be told. What is `fragile` is
not known any more after a strict de-identification.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evidence_samples import Table

_FOLDER = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Case:
    """One header and what is right to say of it."""

    name: str
    header: Table
    origin: tuple[str, ...]
    modifiers: tuple[str, ...]
    fragile: bool


@cache
def cases(family: str) -> tuple[Case, ...]:
    """The cases of one file."""
    entries = _entries(family)
    return tuple(
        Case(
            name=entry.get("name", _spoken(entry)),
            header=_header(entry),
            origin=tuple(entry.get("origin", ("acquired",))),
            modifiers=tuple(entry.get("modifiers", ())),
            fragile=entry.get("fragile", False),
        )
        for entry in entries
    )


def _spoken(entry: Table) -> str:
    """The values of a case without a name."""
    return f"{entry.get('base')}: {', '.join(map(str, entry.get('header', {}).values()))}"


def _header(entry: Table) -> Table:
    base = entry.get("base")
    below = next((other["header"] for other in _entries("acquired") if other["name"] == base), None)
    if base and below is None:
        raise KeyError(f"there is no case {base} in acquired.toml")
    return {**(below or {}), **entry.get("header", {})}


def attributes(name: str) -> frozenset[str]:
    """One of the lists of keywords in `attributes.toml`."""
    return frozenset(tomllib.loads((_FOLDER / "attributes.toml").read_text(encoding="utf-8"))[name])


@cache
def _entries(family: str) -> tuple[Table, ...]:
    return tuple(tomllib.loads((_FOLDER / f"{family}.toml").read_text(encoding="utf-8"))["case"])
