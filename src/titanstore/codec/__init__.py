"""Lossless codecs for float32 embeddings, and the frames they are kept in."""
