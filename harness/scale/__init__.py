"""What grows with the number of vectors, and how fast: `harness scale`."""
