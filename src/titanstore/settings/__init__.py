"""What the settings are, which are in force, and where each came from."""
