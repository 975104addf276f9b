"""Formats that no single data set owns: WebDataset, Hugging Face, a file for each class, and annotations of objects."""
