"""A room made of the shared doors only: the mean colour of a picture, a regression of three numbers."""
