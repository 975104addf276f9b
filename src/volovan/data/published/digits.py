"""The data set that ships with the package: 1,797 handwritten digits, 8 x 8, white on black.

Origin: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository (1998),
CC BY 4.0, https://doi.org/10.24432/C50P49: the test part, as 8 x 8 counts from 0 to 16. digits.npz holds those numbers.
"""

from importlib.resources import files

import numpy as np

from volovan.data.samples import ArraySource, Part

SPLITS = ("train", "val")


def read(split: str) -> Part:
    """Split "train" (1,433 pictures) or "val" (364): of each class, in the order of the file, every fifth is in val."""
    with (files("volovan.data.published") / "digits.npz").open("rb") as file, np.load(file) as data:
        counts, labels = data["images"], data["labels"]
    images = np.round(counts * (255 / 16)).astype(np.uint8)
    whole = ArraySource("digits", images, labels, [str(digit) for digit in range(10)])
    in_val = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        in_val[np.flatnonzero(labels == digit)[::5]] = True
    return Part(whole, np.flatnonzero(in_val == (split == "val")))
