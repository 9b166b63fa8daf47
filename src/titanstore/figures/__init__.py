"""Figures of a working process, where others can read them."""
