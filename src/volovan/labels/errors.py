"""What goes wrong with label maps."""


class LabelError(ValueError):
    """Label maps that cannot be made, read or used; one sentence, with the file, and the key where there is one."""
