"""orthanc-provenance: tells where DICOM pixels come from, stamps it, and gates research."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def register(orthanc: Any) -> None:
    """Register the plugin with the `orthanc` module that the host gives to its Python scripts.

    Raises ConfigurationError where the host or its configuration cannot carry the plugin.
    """
    from .host.plugin import register as register_in_host

    register_in_host(orthanc)
