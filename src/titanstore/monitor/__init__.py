"""A store and the processes that have it open, looked at from outside."""
