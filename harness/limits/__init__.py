"""How far the store is from what is possible on this machine: `harness limits`."""
