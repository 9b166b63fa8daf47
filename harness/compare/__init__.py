"""Comparing two commits: paired rounds of fresh processes, and a rule that may say "unknown"."""
