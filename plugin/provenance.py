"""The script that Orthanc loads ("PythonScript"): finds the package beside it and registers the plugin."""

import sys
from pathlib import Path

import orthanc

sys.path.insert(0, str(Path(__file__).resolve().parent))

import orthanc_provenance

orthanc_provenance.register(orthanc)
