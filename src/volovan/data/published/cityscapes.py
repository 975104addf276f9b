"""Cityscapes (Cordts et al., 2016), fine labels: 2,975 pictures to train, 500 to validate; test has none.

leftImg8bit/{train,val}/CITY/NAME_leftImg8bit.png
gtFine/{train,val}/CITY/NAME_gtFine_labelTrainIds.png    as the authors' script writes them; taken where they are
gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png         as handed out: 34 ids, of which 19 are classes
"""

from functools import partial
from pathlib import Path

from volovan.data.masks.coding import IGNORE, Coding, plain_ids
from volovan.data.masks.folder import Published, PublishedPairs, published_splits
from volovan.data.pairing.partners import pair
from volovan.data.source import Splits

_CLASSES = {  # name -> id in labelIds, official colour
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
_NAMES, _PALETTE = tuple(_CLASSES), tuple(colour for _, colour in _CLASSES.values())
_LABEL_IDS = {
    **dict.fromkeys((*range(34), IGNORE), IGNORE),  # 255 is -1, the licence plate, in eight bits
    **{value: number for number, (value, _) in enumerate(_CLASSES.values())},
}
_ENDINGS = {
    "_gtFine_labelTrainIds": Coding(_NAMES, _PALETTE, plain_ids(len(_NAMES)), origin="Cityscapes"),
    "_gtFine_labelIds": Coding(_NAMES, _PALETTE, _LABEL_IDS, origin="Cityscapes"),
}


def cityscapes_splits(root: Path) -> Splits | None:
    """{"train": opener, "val": opener} if root is the folder of Cityscapes, else None."""
    pictures, masks = root / "leftImg8bit", root / "gtFine"
    found: dict[str, PublishedPairs] = {}
    for split in ("train", "val"):
        if not (pictures / split).is_dir() or not (masks / split).is_dir():
            continue
        every = (ending for ending in _ENDINGS if any((masks / split).rglob(f"*{ending}.png")))
        ending = next(every, "_gtFine_labelIds")
        pairs = partial(pair, root, pictures / split, masks / split, "_leftImg8bit", ending)
        note = f"Cityscapes: 19 classes from *{ending}.png, the rest is ignored."
        found[split] = pairs, Published(_ENDINGS[ending], note)
    return published_splits(root, found) or None
