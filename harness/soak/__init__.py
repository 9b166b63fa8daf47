"""Endurance: what was observed, how long it counts, and whether anything grows."""
