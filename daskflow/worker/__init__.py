"""What one call means, on the other side of the wire; imports no Dask, so that it starts fast."""
