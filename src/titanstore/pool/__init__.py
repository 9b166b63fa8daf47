"""Decoded rows in memory that the processes of one store share."""
