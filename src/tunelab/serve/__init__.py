"""A finished specialist: the bundle on disk, and predictions from it."""
