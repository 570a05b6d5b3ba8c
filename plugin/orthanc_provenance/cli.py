"""The command `orthanc-provenance`, a table of the modules in `commands`.

Exit status: that of the command, and 2 for wrong usage and for what cannot be read (markers, database, key).
"""

from __future__ import annotations

import argparse
import os
import sys

from .commands import classify, keys, markers, tokens, verify
from .errors import ProvenanceError

_COMMANDS = {"classify": classify, "keys": keys, "markers": markers, "tokens": tokens, "verify": verify}


def main(argv: list[str] | None = None) -> int:
    """Run the command with the arguments `argv`, those of the process by default; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ProvenanceError as problem:
        print(f"orthanc-provenance: {problem}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader has left (`… | head`): nobody is there to be told, and Python must not try on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orthanc-provenance", description="Tell original, privacy-protected and synthetic DICOM apart."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        description = (module.__doc__ or "").strip()
        summary = description.splitlines()[0]
        command = commands.add_parser(
            name,
            help=summary,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
