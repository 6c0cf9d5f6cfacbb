"""A study: many runs over the same data, and what they say together."""
