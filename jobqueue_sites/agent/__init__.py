"""The agent: runs once on each node of a block, plans its workers, starts and supervises them."""
