"""Finding files below folders, and reading no more of them than their headers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..dicom.header import DEFLATED_SYNTAXES, Header, read_header
from ..errors import HeaderError

FIRST_READ = 1 << 16
"""Bytes of a file that are read first: enough for most headers, and little of most pixels."""

MAX_READ = 1 << 28
"""Bytes of a file that are read at most: what no header ends within is refused."""

_READS = (FIRST_READ, 1 << 20, 1 << 24, MAX_READ)
_ENOUGH_OF_OTHERS = 1 << 24
_LARGEST_HEAD = 12
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)
_Identity = tuple[int, int]


class Found(NamedTuple):
    """A file, or what else was met where one was looked for and the reason why it cannot be read."""

    path: str
    error: str = ""


def walk(paths: Iterable[Path], leave_out: frozenset[str] = frozenset()) -> Iterator[Found]:
    """The files that `paths` name, and those below the folders among them: of each folder first its files.

    By name within a folder, whose names are held in memory, and nothing else is. Links to folders are
    followed, each target once and none to a folder that the link is in, so that every walk ends. `leave_out`
    are real paths of files that are not to be found. A folder that cannot be listed is told as an error.
    """
    leave_out_names = frozenset(map(os.path.basename, leave_out))
    linked: set[_Identity] = set()
    for path in paths:
        if os.path.isdir(path):
            for found in _below(str(path), linked):
                is_left_out = os.path.basename(found.path) in leave_out_names
                if not is_left_out or os.path.realpath(found.path) not in leave_out:
                    yield found
        else:
            yield Found(str(path))


def _below(root: str, linked: set[_Identity]) -> Iterator[Found]:
    waiting: list[tuple[str, frozenset[_Identity]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            inside = above | {_identity(folder)}
            files, folders, links = _list(folder)
        except OSError as problem:
            yield Found(folder, f"cannot be listed: {problem.strerror or problem}")
            continue
        for name in files:
            yield Found(_join(folder, name))
        for name in links:
            try:
                target = _identity(_join(folder, name))
            except OSError:
                # It was a folder when the list was made; what is gone by now is no folder of this walk.
                continue
            if target not in inside and target not in linked:
                linked.add(target)
                folders.append(name)
        waiting.extend((_join(folder, name), inside) for name in sorted(folders, reverse=True))


def _list(folder: str) -> tuple[list[str], list[str], list[str]]:
    """The names of the files in `folder`, of the folders, and of the links to folders. Raises OSError."""
    files: list[str] = []
    folders: list[str] = []
    links: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_folder(entry):
                files.append(entry.name)
            elif entry.is_symlink():
                links.append(entry.name)
            else:
                folders.append(entry.name)
    return sorted(files), folders, sorted(links)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # Links that lead to each other, or nowhere that may be looked at: whoever opens it tells why not.
        return False


def _join(folder: str, name: str) -> str:
    return name if folder == "." else os.path.join(folder, name)


def _identity(path: str) -> _Identity:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def version(path: str) -> tuple[int, int]:
    """The size in bytes and the modification time in nanoseconds of the file at `path`. Raises OSError."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def read_file_header(path: str | Path) -> Header:
    """The header of the file at `path`, of which only the beginning is read if that holds the header.

    Raises OSError, also where it is no regular file, and HeaderError as `dicom.header.read_header` does or
    where the header does not end within 256 MiB.
    """
    # Whoever opens a named pipe waits for its writer, unless told not to.
    with open(path, "rb", opener=_open_at_once) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
            raise OSError(f"it is {kind}")
        data = b""
        for limit in _READS:
            data += file.read(limit - len(data))
            is_all = len(data) < limit
            try:
                header = read_header(data)
            except HeaderError:
                if is_all or (limit >= _ENOUGH_OF_OTHERS and not _begins_as_dicom(data)):
                    raise
            else:
                if is_all or _ends_within(header, len(data)):
                    return header
    raise HeaderError(f"its header does not end within {MAX_READ} bytes")


def _open_at_once(path: str, flags: int) -> int:
    mode = os.stat(path).st_mode
    if stat.S_ISSOCK(mode):
        raise OSError("it is a socket")
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _ends_within(header: Header, length: int) -> bool:
    """Whether all of `header` was in the first `length` bytes of the file that it was read from."""
    # A cut between two elements looks like the end of the Data Set; in a deflated one any cut may.
    return header.transfer_syntax not in DEFLATED_SYNTAXES and header.pixel_start <= length - _LARGEST_HEAD


def _begins_as_dicom(data: bytes) -> bool:
    """Whether there is a DICM prefix or, without it, a group that objects begin with."""
    return data[128:132] == b"DICM" or data[:2] in (b"\x02\x00", b"\x08\x00")
