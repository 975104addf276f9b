"""Random numbers as a function of where they are used, not of what was drawn before.

A sample's follow from (seed, epoch, index, repeat), a step's from (seed, step, rank). So augmentation does not depend
on workers or ranks, and a resumed run draws what the uninterrupted one would have drawn.
"""

import random

import numpy as np
import torch


def seed_everything(*key: int) -> None:
    """Seed the default generators of Python, NumPy and torch (CUDA too) from a tuple of whole numbers >= 0."""
    first, second, third = np.random.SeedSequence(key).generate_state(3, np.uint32)
    random.seed(int(first))
    np.random.seed(int(second))
    # Not torch.manual_seed: it formats a stack trace at each call, which costs more than many an augmentation.
    torch.default_generator.manual_seed(int(third))
    if torch.utils.data.get_worker_info() is None and torch.cuda.is_initialized():
        torch.cuda.manual_seed(int(third))
