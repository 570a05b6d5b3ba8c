"""False friends: headers of real objects whose words only look like evidence.

In a marker file, a `[[false_friend]]` table has `id`, `title`, `source`, `never` (what no marker may say of
them) and `examples` (attribute tables as in `marker.examples`). A marker that says so all the same is
refused when it is loaded, whoever wrote it: GANTRY is no GAN, on any site.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .examples import example_header
from .language import did_you_mean
from .marker import SAYS, Marker, example_tables, text_of
from .matcher import match_plan
from .plan import Plan

_KEYS = frozenset({"id", "title", "source", "never", "examples"})


@dataclass(frozen=True, slots=True)
class FalseFriend:
    """Attribute tables (`examples`) of which no marker may say any of `never`."""

    id: str
    title: str
    source: str
    never: tuple[str, ...]
    examples: tuple[Mapping[str, Any], ...]


def parse_friend(entry: Mapping[str, Any]) -> FalseFriend:
    """The false friend that a `[[false_friend]]` table describes. Raises ValueError with a reason."""
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        close = did_you_mean(unknown[0], _KEYS)
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}{close}")
    known = [says for values in SAYS.values() for says in values]
    never = entry.get("never")
    if not isinstance(never, list) or not never or not all(says in known for says in never):
        raise ValueError(f"never must be a list of what markers say; write some of {', '.join(known)}")
    examples = example_tables(entry, "examples")
    if not examples:
        raise ValueError("examples is missing; write at least one attribute table")
    for table in examples:
        example_header(table)
    return FalseFriend(
        text_of(entry, "id"), text_of(entry, "title"), text_of(entry, "source"), tuple(never), examples
    )


def mistakes(
    markers: Iterable[Marker], friends: Iterable[FalseFriend]
) -> Iterator[tuple[Marker, FalseFriend]]:
    """The markers that say of false friends what they must not, each with the first such false friend."""
    by_id = {marker.id: marker for marker in markers}
    plan = Plan.of(by_id.values())
    for friend in friends:
        for table in friend.examples:
            for evidence in match_plan(plan, example_header(table)):
                if evidence.says in friend.never and evidence.marker in by_id:
                    yield by_id.pop(evidence.marker), friend
