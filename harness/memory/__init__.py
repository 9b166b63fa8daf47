"""Where the store's memory goes, whether it grows, and who says so: `harness memory`."""
