"""Objects in pictures: boxes, classes and outlines as they were annotated."""
