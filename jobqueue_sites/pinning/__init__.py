"""Pinning: which cores and which accelerators each worker of a node gets. Pure."""
