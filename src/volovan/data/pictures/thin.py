"""How thin a picture may be for a network: one bound for every room, so that no shape costs more than its pixels."""

LONGEST = 32
"""a side may be so many times as long as the other; what a network makes of a picture grows with the longer one, and it
pads the shorter one to whole strides"""


def widened(size: tuple[int, int], least: int = 1) -> tuple[int, int]:
    """The same (height, width), or for a picture that is thinner than that its longer side cut to the bound.

    least: pixels to which a network pads the shorter side.
    """
    longest = LONGEST * max(least, min(size))
    return min(size[0], longest), min(size[1], longest)
