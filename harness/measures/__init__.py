"""One module a gate: how its samples are taken in fresh processes, and what is shown beside."""
