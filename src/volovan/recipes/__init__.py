"""Packaged recipes, `<task>/<name>.yaml`. They are read by volovan.use.recipes."""
