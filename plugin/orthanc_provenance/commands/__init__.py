"""The commands of `orthanc-provenance`, one module each: `add_arguments(parser)` and `run(arguments)`."""
