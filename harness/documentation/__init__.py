"""Is everything documented, does every example run, does every link lead somewhere."""
