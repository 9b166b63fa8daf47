"""Real answers of Titan, recorded within a budget: `harness record --live`."""
