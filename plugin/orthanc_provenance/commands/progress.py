"""How far a run over folders is, on the terminal, while it runs."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` is called once for every file; results are written to a terminal inside `aside()`."""

    step: Callable[[], object]
    aside: Callable[[], AbstractContextManager[object]]


@contextmanager
def progress(items: Iterable[Any], *, shown: bool) -> Iterator[Progress]:
    """Shows how many of `items` are done, if `shown` and standard error is a terminal.

    `items` is only counted, beside the work: until that is done, the bar says how many are done, not of how
    many.
    """
    if not shown or not sys.stderr.isatty():
        yield Progress(lambda: None, nullcontext)
        return
    stopped = threading.Event()
    # Some terminals say that they have no size at all, and tqdm shows nothing on these.
    columns, lines = shutil.get_terminal_size()
    with tqdm(unit=" files", file=sys.stderr, ncols=columns, nrows=lines, smoothing=0.05) as bar:
        counter = threading.Thread(target=_count, args=(items, bar, stopped), daemon=True)
        counter.start()
        # On one terminal, the bar has to make way for what is written above it.
        aside = tqdm.external_write_mode if sys.stdout.isatty() else nullcontext
        try:
            yield Progress(bar.update, aside)
        finally:
            stopped.set()
            counter.join()


def _count(items: Iterable[Any], bar: Any, stopped: threading.Event) -> None:
    total = 0
    for _ in items:
        total += 1
        if stopped.is_set():
            return
    bar.total = total
    bar.refresh()
