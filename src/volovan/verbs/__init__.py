"""One module per verb of the command line, light to import."""
