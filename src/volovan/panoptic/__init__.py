"""The room of panoptic segmentation: a segment for every pixel, and objects and classes from the same network."""
