"""The one error of the launcher: what went wrong, and the way out."""

from __future__ import annotations


class LaunchError(Exception):
    """Something a person has to put right. `str()` is one line, fit for the terminal."""

    def __init__(self, what: str, do: str) -> None:
        """`what` went wrong and where; `do` is what to do about it, in the imperative."""
        super().__init__(" ".join(f"{what}; do {do}".split()))
        self.what = what
        self.do = do
