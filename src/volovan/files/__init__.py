"""The ground: a file is written whole or not at all; what a checkpoint is, and where those of a run lie.

Nothing is imported here: `volovan.files.whole` is free of torch.
"""
