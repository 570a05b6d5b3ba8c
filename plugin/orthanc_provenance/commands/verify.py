"""Says for every file whether its stamp is valid, and if not, what was changed or who is not trusted.

  valid      a trusted key signed what the stamp says, for the pixels that are in the file
  untrusted  nothing speaks against the stamp, but no trusted key has signed it
  altered    the pixels, the content (of an object without pixels) or the stamp were changed since, also
             where Synthetic Data or Contributing Equipment Sequence now contradict it
  none       there is no stamp

Of an image, the pixels are bound and what the stamp says of them. The rest is not: patient, geometry and
orientation, window, photometric interpretation, overlays and all other elements of the header can be changed
without a trace. Where parts of the stamp were removed, as tools that remove identity do, it stays valid, and
the reasons name them.

The keys are those of the gateways that stamped the files: a file, or the address of a gateway's
/provenance/api/keys, with the user and password that it asks for (https://user:password@host/...).

Exit status: 0 if all files are valid, 1 if any is altered or cannot be read, 3 if none of these is, but any
is untrusted or has no stamp.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ..dicom.digest import pixel_digest
from ..dicom.header import Header, read_header
from ..errors import ConfigurationError, HeaderError
from ..stamp.block import Stamp, read_stamps
from ..stamp.elements import claimed_states
from ..stamp.foreign import fetch_public_keys
from ..stamp.public import compare
from ..stamp.received import check_stamps
from ..stamp.statement import digest_of
from ..stamp.trust import NO_STAMP, PIXELS_ALTERED, STAMP_ALTERED, Standing, TrustedKeys, Word
from .files import walk
from .manifests import verify_manifest
from .people import printable

_SOP_INSTANCE = 0x00080018
_ALTERED, _NOT_VALID = 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files, or folders to walk")
    parser.add_argument(
        "--manifest",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a signed manifest (format=dsse), with the files it is about if they lie beside it",
    )
    parser.add_argument(
        "--keys",
        action="append",
        default=[],
        metavar="FILE|URL",
        help="trusted public keys, in PEM or as a gateway answers them; may be given again",
    )
    parser.add_argument("--format", choices=("table", "jsonl"), default="table", help="default: table")


def run(arguments: argparse.Namespace) -> int:
    """Verify the files that `arguments` name; returns the exit status. Raises KeyFileError."""
    if not arguments.paths and not arguments.manifest:
        raise ConfigurationError("verify: name files, folders, or a --manifest")
    trusted = TrustedKeys()
    for source in arguments.keys:
        trusted.put(source, fetch_public_keys(source))
    show = _show_row if arguments.format == "table" else _show_line
    worst = 0
    manifests = (verify_manifest(path, trusted) for path in arguments.manifest)
    for result in chain(verify(arguments.paths, trusted), manifests):
        show(result)
        if "error" in result or result["standing"] == Word.ALTERED:
            worst = _ALTERED
        elif result["standing"] != Word.VALID and worst != _ALTERED:
            worst = _NOT_VALID
    return worst


def verify(paths: Iterable[Path], trusted: TrustedKeys) -> Iterator[dict[str, Any]]:
    """One JSON-ready object per file: how its stamp stands, or `path` and `error`. Stops at no bad file."""
    for found in walk(paths):
        if found.error:
            yield {"path": found.path, "error": found.error}
        else:
            yield verify_file(found.path, trusted)


def verify_file(path: str, trusted: TrustedKeys) -> dict[str, Any]:
    """How the current stamp of the file at `path` stands, or `path` and `error`."""
    try:
        header = read_header(_read(path))
        stamps = read_stamps(header)
        standing = current_standing(header, stamps, trusted)
    except OSError as problem:
        return {"path": path, "error": f"cannot be read: {problem.strerror or problem}"}
    except HeaderError as problem:
        return {"path": path, "error": str(problem)}
    state = stamps[-1].state if stamps else None
    return {
        "path": path,
        "sop_instance_uid": header.text(_SOP_INSTANCE),
        "standing": standing.word.value,
        "altered": list(standing.altered),
        "state": None if state is None else state.value,
        "key": standing.key_id,
        "stamps": len(stamps),
        "reasons": list(standing.reasons),
    }


def _read(path: str) -> bytes:
    """Raises OSError, also where it is no regular file: a named pipe would never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")
    with open(path, "rb") as file:
        return file.read()


def current_standing(header: Header, stamps: tuple[Stamp, ...], trusted: TrustedKeys) -> Standing:
    """How the current stamp of an object stands, that of the highest block; `stamps` are all of its stamps.

    Raises HeaderError where the object holds too much to be read.
    """
    if not stamps:
        left = ", ".join(state.value for state in claimed_states(header))
        gone = f"there is no stamp any more; what is left of one, not signed, says {left}"
        return Standing(Word.NONE, (gone,)) if left else NO_STAMP
    try:
        digest, unread = pixel_digest(header), ""
    except HeaderError as problem:
        digest, unread = None, f"the pixels cannot be read: {problem}"
    current = check_stamps(header, stamps, trusted, digest)[-1]
    if unread:
        current = _altered(current, unread, PIXELS_ALTERED)
    statement = current.statement
    if statement is None:
        return current
    public = compare(header, statement)
    for reason in public.wrong:
        current = _altered(current, reason, STAMP_ALTERED)
    earlier = digest_of(stamps[-2].statement) if stamps[1:] and stamps[-2].statement else ""
    if statement.previous != earlier:
        gone = "the stamp before it is not the one that was there when it was signed"
        current = _altered(current, gone, STAMP_ALTERED)
    return replace(current, reasons=(*current.reasons, *public.told))


def _altered(standing: Standing, reason: str, what: str) -> Standing:
    altered = tuple(dict.fromkeys((*standing.altered, what)))
    return replace(standing, word=Word.ALTERED, reasons=(reason, *standing.reasons), altered=altered)


def _show_line(result: dict[str, Any]) -> None:
    print(json.dumps(result, ensure_ascii=True))


def _show_row(result: dict[str, Any]) -> None:
    # Names of files, and of those that a manifest names, may hold anything.
    if "error" in result:
        print(printable(f"{'(error)':<10} {result['path']}: {result['error']}"))
        return
    altered = f" ({', '.join(result['altered'])})" if result["altered"] else ""
    state = result["state"] or "-"
    reasons = f"  [{'; '.join(result['reasons'])}]" if result["reasons"] else ""
    print(printable(f"{result['standing'] + altered:<10} {state:<17} {result['path']}{reasons}"))
