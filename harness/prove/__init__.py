"""Faults put into real runs, to prove that the gates can fail and that quiet ones stay quiet."""
