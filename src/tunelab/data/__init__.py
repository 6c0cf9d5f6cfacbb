"""From a file to batches: read, check, split, encode, batch. Nothing here sees a model's weights."""
