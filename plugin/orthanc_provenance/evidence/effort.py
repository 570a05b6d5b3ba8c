"""How long the search for a regular expression may take at worst, told without running it.

Python's `re` tries one way to read a value after the other, and where an expression can read the same
characters in many ways, it tries them all before it says no: `(?:a|aa)` twenty times over reads thirty
letters in a million ways. Counted here are the steps of that at worst: the ways multiply along an expression
wherever a `?`, `*`, `+`, `{m,n}` or an alternative can stop or go on before the same character.

A library that matches in linear time (RE2) would need no count, but knows neither `(?<!…)` nor `(?!…)`, by
which markers tell words from their false friends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from re import _parser as parser  # type: ignore[attr-defined]  # the only reader of the same language
from typing import Any, NamedTuple

_MAX_UNBOUNDED = 2
_MAX_REPEATS = 64
# A tenth of a second or so.
_MAX_STEPS = 1 << 24
_ONE_LETTER = re.compile(r"\\.|\[\^?\]?[^\]]*\]")
_BACK_REFERENCE = re.compile(r"\\[1-9]|\(\?P=|\(\?\(")
_QUANTIFIED_GROUP = re.compile(r"\)[*+{]")
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")
_TIMES = re.compile(r"\{(?:\d*,)?(\d+)\}")

Node = tuple[Any, Any]
# Letters as bits, those above Latin-1 as one; what a match may begin with, letter by letter, () if anything.
Letters = int
Prefix = tuple[Letters, ...]
Prefixes = tuple[Prefix, ...]

_OTHER = 256
_ANY: Letters = (1 << _OTHER + 1) - 1
_ANYTHING: Prefixes = ((),)
_LONGEST_PREFIX = 8
_MOST_PREFIXES = 48
_MOST_TIMES = 64
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})
_ASSERTS = frozenset({"ASSERT", "ASSERT_NOT"})
_AT_START = frozenset({"AT_BEGINNING", "AT_BEGINNING_STRING"})
# Past this no product is worth its digits.
_ENOUGH = 1 << 62


class Cost(NamedTuple):
    """Of a part of an expression: in how many `ways` it can match before a failure behind it is final, and
    the `steps` that all of these take together."""

    ways: int
    steps: int


class Follow(NamedTuple):
    """What comes behind a part: how that may begin; `fails` is false where it always matches."""

    prefixes: Prefixes
    fails: bool


_END = Follow(_ANYTHING, fails=False)


def refuse_endless(expression: str, longest: int) -> None:
    """Raise ValueError where a search in `longest` characters may take longer than a sender can wait."""
    letters = _ONE_LETTER.sub("x", expression)
    if _QUANTIFIED_GROUP.search(letters) or _BACK_REFERENCE.search(expression):
        raise ValueError(
            f"{expression!r} nests quantifiers or refers back, which may never end; repeat single letters and"
            " classes, no groups"
        )
    if len(_UNBOUNDED.findall(letters)) > _MAX_UNBOUNDED or any(
        int(times) > _MAX_REPEATS for times in _TIMES.findall(letters)
    ):
        raise ValueError(
            f"{expression!r} repeats too much; write * and + at most {_MAX_UNBOUNDED} times, and {{n}} up to"
            f" {_MAX_REPEATS}"
        )
    steps = worst_steps(expression, longest)
    if steps > _MAX_STEPS:
        raise ValueError(
            f"{expression!r} can read the same letters in too many ways ({steps:.0e} steps at worst, of"
            f" {_MAX_STEPS:.0e}); write fewer ?, * and {{m,n}} before what they themselves match,"
            " alternatives that begin differently, or ^ in front"
        )


@lru_cache(2048)
def worst_steps(expression: str, longest: int) -> int:
    """The most steps that a search for `expression` takes in a value of `longest` characters, roughly.

    Raises re.error where `expression` is none.
    """
    nodes: list[Node] = list(parser.parse(expression, re.IGNORECASE))
    steps = 0
    # What may as well match nothing at the end never fails, and is read once.
    while nodes and _name(nodes[-1]) in _REPEATS and _may_be_empty(nodes[-1]):
        steps += _cost(nodes.pop(), _END, longest).steps
    if nodes and _name(nodes[0]) == "AT" and str(nodes[0][1]) in _AT_START:
        starts = 1
    else:
        starts = longest // _spacing(_prefixes(nodes, _ANYTHING)) + 1
    return min(_ENOUGH, longest + steps + starts * _sequence(nodes, _END, longest).steps)


def _name(node: Node) -> str:
    return str(node[0])


def _sequence(nodes: Iterable[Node], follow: Follow, longest: int) -> Cost:
    """The cost of `nodes` one behind the other: each way of one is tried with all steps of what is behind."""
    ways, steps = 1, 1
    for node in reversed(list(nodes)):
        cost = _cost(node, follow, longest)
        steps = min(_ENOUGH, cost.steps + cost.ways * steps)
        ways = min(_ENOUGH, ways * cost.ways)
        follow = _before(node, follow)
    return Cost(ways, steps)


def _before(node: Node, follow: Follow) -> Follow:
    """What comes behind a part of which `node`, and then `follow`, is what is behind."""
    if _name(node) in _ASSERTS:
        # Looked at from wherever the part in front may stop.
        return Follow(_ANYTHING, fails=True)
    fails = follow.fails or _name(node) == "AT" or not _may_be_empty(node)
    return Follow(_extended(node, follow.prefixes), fails)


def _cost(node: Node, follow: Follow, longest: int) -> Cost:
    name, value = _name(node), node[1]
    if name in _REPEATS:
        return _repeat(value, follow, longest)
    if name == "BRANCH":
        return _branches(value[1], follow, longest)
    if name in _ASSERTS:
        # Once it has matched, what it has read is not read in another way.
        return Cost(1, _sequence(value[1], _END, longest).steps)
    inner = _inner(node)
    return Cost(1, 1) if inner is None else _sequence(inner, follow, longest)


def _inner(node: Node) -> Iterable[Node] | None:
    """What stands in the brackets that `node` is, None where it is something else."""
    brackets = {"SUBPATTERN": lambda value: value[3], "ATOMIC_GROUP": lambda value: value}
    found = brackets.get(_name(node))
    return None if found is None else found(node[1])


def _repeat(value: tuple[Any, Any, Any], follow: Follow, longest: int) -> Cost:
    least, most, part = int(value[0]), min(int(value[1]), longest), value[2]
    lengths = max(1, most - least + 1)
    begins = _prefixes(part, _ANYTHING)
    one = _sequence(part, Follow(_few(begins + follow.prefixes), fails=True), longest)
    each = min(_ENOUGH, one.ways ** min(most, _MOST_TIMES))
    if not follow.fails or not _may_meet(begins, follow.prefixes):
        stops = 1
    else:
        # Of all places at which it may stop, what is behind begins only so often.
        stops = (lengths - 1) // _spacing(follow.prefixes) + 1
    return Cost(min(_ENOUGH, stops * each), min(_ENOUGH, max(1, most) * one.steps * each))


def _branches(branches: Sequence[Iterable[Node]], follow: Follow, longest: int) -> Cost:
    """Alternatives: those that begin with other letters are no other way."""
    costs = [_sequence(branch, follow, longest) for branch in branches]
    begins = [_prefixes(branch, follow.prefixes) for branch in branches]
    ways = max(
        sum(cost.ways for cost, others in zip(costs, begins, strict=True) if _may_meet(here, others))
        for here in begins
    )
    return Cost(min(_ENOUGH, ways), min(_ENOUGH, sum(cost.steps for cost in costs)))


@cache
def _may_meet(some: Prefixes, others: Prefixes) -> bool:
    """Whether the same letters may begin with one of `some` and with one of `others`."""
    return any(all(map(int.__and__, one, other)) for one in some for other in others)


@cache
def _spacing(prefixes: Prefixes) -> int:
    """How far apart places are, at least, at which one of `prefixes` begins: 1 for `aa`, 3 for `by `."""
    return min(_shift(one, other) for one in prefixes for other in prefixes)


def _shift(one: Prefix, other: Prefix) -> int:
    return next((by for by in range(1, len(one)) if all(map(int.__and__, one[by:], other))), max(1, len(one)))


def _prefixes(nodes: Iterable[Node], behind: Prefixes) -> Prefixes:
    """How a match of `nodes` and of what is `behind` may begin."""
    for node in reversed(list(nodes)):
        behind = _extended(node, behind)
    return behind


def _extended(node: Node, behind: Prefixes) -> Prefixes:
    """How a match of `node` and of what is `behind` may begin."""
    name, value = _name(node), node[1]
    if name == "AT" or name in _ASSERTS:
        return behind
    if name in _REPEATS:
        least, most = int(value[0]), int(value[1])
        onward = behind if least == most else _ANYTHING
        if most == 1:
            return _few(_prefixes(value[2], behind) + (behind if least == 0 else ()))
        for _ in range(min(max(1, least), _LONGEST_PREFIX)):
            onward = _prefixes(value[2], onward)
        return _few(onward + (behind if least == 0 else ()))
    if name == "BRANCH":
        return _few(tuple(found for branch in value[1] for found in _prefixes(branch, behind)))
    if (inner := _inner(node)) is not None:
        return _prefixes(inner, behind)
    letters = _letters(node)
    return _few(tuple((letters, *found[: _LONGEST_PREFIX - 1]) for found in behind))


def _few(prefixes: Prefixes) -> Prefixes:
    """`prefixes` without repetitions, and so short that there are not too many."""
    found, length = tuple(dict.fromkeys(prefixes)), _LONGEST_PREFIX
    while len(found) > _MOST_PREFIXES:
        length -= 1
        found = tuple(dict.fromkeys(prefix[:length] for prefix in found))
    return found


def _may_be_empty(node: Node) -> bool:
    name, value = _name(node), node[1]
    if name in _REPEATS:
        return int(value[0]) == 0 or all(map(_may_be_empty, value[2]))
    if name == "BRANCH":
        return any(all(map(_may_be_empty, branch)) for branch in value[1])
    inner = _inner(node)
    return name in ("AT", *_ASSERTS) if inner is None else all(map(_may_be_empty, inner))


def _letters(node: Node) -> Letters:
    """The letters of which `node` matches one."""
    name, value = _name(node), node[1]
    if name == "LITERAL":
        return _cases(int(value))
    if name == "NOT_LITERAL":
        return _ANY & ~(1 << int(value)) if int(value) < _OTHER else _ANY
    return _in(value) if name == "IN" else _ANY


@cache
def _cases(letter: int) -> Letters:
    """A letter, capital and small: flags are not looked at, and all count as if case were none."""
    text = chr(letter)
    found = 0
    for one in (*text, *text.lower(), *text.upper()):
        found |= 1 << min(ord(one), _OTHER)
    return found


def _in(members: Sequence[Node]) -> Letters:
    negated = _name(members[0]) == "NEGATE"
    found = 0
    for member in members[1:] if negated else members:
        name, value = _name(member), member[1]
        if name == "LITERAL":
            found |= _cases(int(value))
        elif name == "RANGE":
            for one in range(value[0], min(value[1], _OTHER) + 1):
                found |= _cases(one)
            if value[1] >= _OTHER:
                found |= 1 << _OTHER
        else:
            found |= _category(str(value))
    # Of the letters above Latin-1 a class excludes some at most.
    return (_ANY & ~found) | 1 << _OTHER if negated else found


@cache
def _category(name: str) -> Letters:
    kinds = {"WORD": "isalnum", "DIGIT": "isdecimal", "SPACE": "isspace"}
    kind = name.rpartition("_")[2]
    if kind not in kinds:
        return _ANY
    inside = 1 << _OTHER
    for one in range(_OTHER):
        if getattr(chr(one), kinds[kind])() or (kind == "WORD" and one == ord("_")):
            inside |= 1 << one
    return (_ANY & ~inside) | 1 << _OTHER if "NOT" in name else inside
