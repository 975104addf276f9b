"""Which file is the mask or map of which picture: by folders, by names, by lists."""
