"""Makes, shows and rotates the key with which a gateway signs its stamps.

  make    a private key, readable by its owner only, for "Provenance.SigningKey"
  show    the public keys, the current and the retired ones: what other hospitals and researchers need
  rotate  retire the key and put a new one in its place; restart Orthanc afterwards

What a retired key has signed stays valid. Its public half lies in the folder NAME.retired beside NAME.pem;
remove it from there if the key was stolen, and nothing that it has signed is trusted any more.
Without "Provenance.SigningKey", FILE is provenance-signing-key.pem in Orthanc's index folder.

Exit status: 0, or 2 where the key cannot be read or written.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import KeyFileError
from ..stamp.keys import describe, load_keys, make_key, rotate_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("action", choices=("make", "show", "rotate"))
    parser.add_argument("file", type=Path, metavar="FILE", help="the private key")


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` ask for, and print the public keys as JSON. Raises KeyFileError."""
    path: Path = arguments.file
    if arguments.action == "make":
        if path.exists():
            raise KeyFileError(f"{path} is there already; to replace a key: orthanc-provenance keys rotate")
        make_key(path)
    keys = rotate_key(path) if arguments.action == "rotate" else load_keys(path)
    print(json.dumps(describe(keys), indent=2))
    return 0
