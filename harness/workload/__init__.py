"""Workloads: generators of accesses, and the traces that record them (SPEC section 4)."""
