"""Snapshots of a store: reading them, comparing them, going back to them, letting them go."""
