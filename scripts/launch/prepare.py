"""Installs ahead of time: `python -m launch.prepare tools 1.12 1.13`."""

from __future__ import annotations

import sys

from . import roots, viewer
from .errors import LaunchError
from .machine import ensure_tools

TOOLS = {"storescu": "dcmtk", "gdcmdump": "libgdcm-tools", "chromium": "chromium"}
"""Commands that the tests use, and their Debian packages."""


def main(names: list[str]) -> int:
    """Installs the Orthanc versions named, and the tests' tools for `tools`; returns the exit status."""
    try:
        for name in names:
            if name == "tools":
                ensure_tools(TOOLS)
                viewer.installed()
            else:
                roots.site_packages(roots.choose(name).python)
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
