"""From what was measured of an installation to verdicts."""
