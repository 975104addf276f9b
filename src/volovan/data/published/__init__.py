"""One page for each published data set: its layout, classes and splits as they are handed out."""
