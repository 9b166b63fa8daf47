"""Append-only files of frames, mapped into memory by every reader."""
