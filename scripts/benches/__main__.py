"""Runs one measurement by name."""

from __future__ import annotations

import argparse
import sys

from . import classify, dicomweb, fill, ingest, qido, stamp

_MODULES = (ingest, stamp, classify, dicomweb, fill, qido)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for module in _MODULES:
        added = commands.add_parser(module.NAME, help=module.__doc__, description=module.__doc__)
        module.add_arguments(added)
    options = parser.parse_args()
    return {module.NAME: module for module in _MODULES}[options.name].run(options)


if __name__ == "__main__":
    sys.exit(main())
