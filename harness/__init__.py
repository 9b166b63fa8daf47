"""Drives a store, measures it, and decides with evidence whether it may ship."""
