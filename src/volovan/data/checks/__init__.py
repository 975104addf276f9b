"""volovan check-data: what a run would see, said before it starts."""
