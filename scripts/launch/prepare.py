"""Installs ahead of time: `python -m launch.prepare 1.12 1.13 storescu`."""

from __future__ import annotations

import sys

from . import roots
from .errors import LaunchError
from .machine import ensure_tools


def main(names: list[str]) -> int:
    """Installs the Orthanc versions and tools named; returns the exit status."""
    try:
        for name in names:
            if name == "storescu":
                ensure_tools({"storescu": "dcmtk"})
            else:
                roots.site_packages(roots.choose(name).python)
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
