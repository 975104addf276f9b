"""A segment for every pixel: things one by one, and what is not counted as a whole."""
