"""The LMDB environment that knows where every record lies."""
