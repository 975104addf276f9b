"""Text that says of which pictures what holds: lists, tables, lines of classes, names on standard input."""
