"""Formats that no single data set owns: WebDataset, Hugging Face, COCO, YOLO, a file for each class."""
