"""What the graph looks like: recorded calls in, Dask tasks out. Pure: no clock, thread, file, socket."""
