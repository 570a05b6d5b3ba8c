"""The measurements behind `scripts/bench`, one module each."""
