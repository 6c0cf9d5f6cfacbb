"""The training loop, the only one, and the parts it is given."""
