"""Semantic segmentation: a class for every pixel. Pyramid trunks, three heads, whole and sliding-window inference."""
