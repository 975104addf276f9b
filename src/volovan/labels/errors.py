"""What this room raises: a ValueError whose text is one sentence for the user."""


class LabelError(ValueError):
    """Label maps that cannot be made, read or used; names the file, and the key where there is one."""
