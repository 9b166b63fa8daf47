"""Instruments that look at a process from the operating system's side."""
