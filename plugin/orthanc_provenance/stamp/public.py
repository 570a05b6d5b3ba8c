"""The public half of a stamp: SyntheticData and our Item in Contributing Equipment Sequence.

Everybody reads it, and whoever has no key reads nothing else. A statement repeats what it said when the
object was stamped, so that it cannot be turned unseen. Removing it is another matter: tools that remove
identity do that, and nothing that is left is wrong then.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from ..dicom.header import Header
from ..dicom.scan import Tag
from ..model import Origin, State
from .elements import CONTRIBUTING_EQUIPMENT_SEQUENCE, SYNTHETIC_DATA, claimed_states, state_words
from .statement import PublicHalf, Statement

_YES, _NO, _OTHER = "YES", "NO", "other"
_SYNTHETIC_DATA = "Synthetic Data (0008,001C)"
_EQUIPMENT = "Contributing Equipment Sequence (0018,A001)"


class Comparison(NamedTuple):
    """What of the public half is `wrong` since it was signed, and what else is `told` of it; in sentences."""

    wrong: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def public_half(header: Header, added: Container[Tag] = (), state: State | None = None) -> PublicHalf:
    """What the object of `header` says in public, once a stamp of `state` has added the elements `added`."""
    value = _YES if SYNTHETIC_DATA in added else header.text(SYNTHETIC_DATA).upper()
    states = set(claimed_states(header))
    if state is not None and CONTRIBUTING_EQUIPMENT_SEQUENCE in added:
        states.add(state)
    return PublicHalf(
        # What else somebody wrote there may be anything, and is not repeated.
        value if value in (_YES, _NO, "") else _OTHER,
        tuple(one for one in State if one in states),
    )


def compare(header: Header, statement: Statement) -> Comparison:
    """How what the object of `header` says in public agrees with `statement`, whoever signed that."""
    now, signed = public_half(header), statement.public
    wrong, told = [], []
    if now.synthetic_data != signed.synthetic_data:
        if now.synthetic_data and not _agrees(now.synthetic_data, statement.origin):
            wrong.append(f"{_SYNTHETIC_DATA} says otherwise than when it was signed")
        elif not now.synthetic_data and signed.synthetic_data == _YES:
            told.append(f"{_SYNTHETIC_DATA} is gone")
    elif now.synthetic_data == _NO and statement.origin.is_synthetic:
        told.append(f"{_SYNTHETIC_DATA} said NO when the object came, and was kept as it came")
    expected, named = statement.state in signed.states, state_words(header)
    if not named <= {*signed.states, statement.state}:
        wrong.append(f"{_EQUIPMENT} names a state that it did not when it was signed")
    elif expected and named and statement.state not in named:
        wrong.append(f"{_EQUIPMENT} does not name the state that was signed any more, but another")
    elif expected and not named:
        told.append(f"the item of the stamp in {_EQUIPMENT} is gone")
    return Comparison(tuple(wrong), tuple(told))


def _agrees(value: str, origin: Origin) -> bool:
    """Whether SyntheticData of `value` is what somebody may have written to label content of this origin."""
    return value == (_YES if origin.may_be_labelled else _NO)
