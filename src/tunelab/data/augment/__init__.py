"""More training rows from those there are: rules, lexicons and models; never from a row that is judged."""
