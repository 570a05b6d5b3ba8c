"""Why markers matched in one object, and why others, whose pattern was found in it, did not.

For administrators who try a file against the catalogue. It takes the same way as `matcher.match`, which
stops at the first guard that does not hold and remembers nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dicom.header import Header
from ..model import Evidence
from .marker import Marker
from .matcher import Place, evidence, holds, match, patterns_found, quoted, values_at
from .plan import HasPlan
from .purpose import heard

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class HeldOff:
    """A marker whose pattern was found, and the first of its guards that did not hold.

    `attribute` and `value` are where and what was found, as in `Evidence`; `guard` is the guard in words, and
    `guard_found` what it met instead: the first values, at most three, or "" where there is none.
    """

    marker: str
    attribute: str
    value: str
    guard: str
    guard_found: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All markers of which the pattern was found in one object, by id: those in force and those held off."""

    matched: tuple[Evidence, ...]
    held_off: tuple[HeldOff, ...]


def explain(catalogue: HasPlan, header: Header) -> Explanation:
    """Every marker of `catalogue` that matched in `header`, and every one that a guard held off.

    `matched` is what `match` gives. Raises HeaderTooLarge.
    """
    held_off: dict[tuple[str, str], HeldOff] = {}
    for column, place, hits in patterns_found(catalogue.plan, header):
        for hit in hits:
            found = evidence(column.path, place, hit)
            key = (found.marker, found.attribute)
            reason = _purpose(hit[1], place) or _reason(hit[1], header)
            if reason is not None and key not in held_off:
                held_off[key] = HeldOff(found.marker, found.attribute, found.value, *reason)
    return Explanation(match(catalogue, header), tuple(held_off[key] for key in sorted(held_off)))


def _purpose(marker: Marker, place: Place) -> tuple[str, str] | None:
    """Why `marker` is not heard in an Item of Contributing Equipment, and the purposes of that."""
    if heard(marker, place.purposes) is None:
        return "unless it was there for another purpose", ", ".join(sorted(map(quoted, place.purposes)))
    return None


def _reason(marker: Marker, header: Header) -> tuple[str, str] | None:
    """The first guard of `marker` that does not hold, in words, and the values that it found."""
    for guard in marker.guards:
        if not holds(guard, header):
            paths = tuple(path for condition in guard.conditions for path in condition.paths)
            found = list(values_at(paths, header))[:_SHOWN]
            return guard.text, ", ".join(quoted(value) for value in found)
    return None
