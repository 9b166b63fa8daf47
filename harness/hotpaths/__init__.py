"""Where the time of get, put, search and update goes: `harness hotpaths`."""
