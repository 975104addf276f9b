"""Pictures: every kind of file decoded safely, as tensors, on contact sheets; the colours and names that they get."""
