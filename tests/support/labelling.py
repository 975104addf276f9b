"""How the tests of labelling label: in one process, without a word."""

import torch

from volovan.engine.distributed import Place
from volovan.labels.generate import Plan

ALONE = Place(torch.device("cpu"))
PLAN = Plan(size=32, batch_size=8, workers=0, shard_bytes=10_240)  # 320 bytes a map: 32 pictures a shard
LAYOUTS = ("compact", "published")


def quiet(line: str) -> None:
    """Nothing."""
