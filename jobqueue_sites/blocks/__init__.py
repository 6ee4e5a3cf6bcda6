"""Life of a block: its states, how many there should be, and what the batch system says of them."""
