"""Finding the nearest vectors: an exact scan of codes, LanceDB above a size, a cache of results."""
