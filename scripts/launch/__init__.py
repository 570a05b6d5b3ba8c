"""Starts Orthanc with the plugin: for `scripts/run`, for the tests, and for the measurements.

`running_orthanc` is the entrance. The modules are its steps: `start` puts a start together, `roots` finds or
installs an Orthanc, `jsonc` reads and `configure` merges the configuration, `ports` keeps ports free,
`process` starts and watches Orthanc, `server` is what the caller holds, `machine` is apt, folders and locks.
"""

from __future__ import annotations

from .configure import Request
from .errors import LaunchError
from .server import Server
from .start import ServerFactory, running_orthanc

__all__ = ["LaunchError", "Request", "Server", "ServerFactory", "running_orthanc"]
