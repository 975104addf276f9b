"""COCO-Stuff (Caesar et al., 2018) on COCO 2017: 171 classes, 118,287 pictures to train, 5,000 to validate.

{train,val}2017/ or images/{train,val}2017/   pictures
stuffthingmaps/{train,val}2017/NAME.png       as handed out (also stuffthingmaps_trainval2017): values 0 to 181, the ids
                                              of COCO less one, with 11 gaps; 255 is unlabelled
annotations/{train,val}2017/                  the same maps under another name, as frameworks want them
NAME_labelTrainIds.png                        numbers without gaps, 0 to 170; taken where they are
"""

from functools import partial
from pathlib import Path

from volovan.data.masks.coding import IGNORE, Coding, plain_ids
from volovan.data.masks.folder import Published, PublishedPairs, published_splits
from volovan.data.pairing.partners import pair
from volovan.data.pictures.palettes import spread
from volovan.data.source import Splits

_THINGS = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign parking_meter "
    "bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee "
    "skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle wine_glass "
    "cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch "
    "potted_plant bed dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink "
    "refrigerator book clock vase scissors teddy_bear hair_drier toothbrush"
)
_STUFF = (
    "banner blanket branch bridge building-other bush cabinet cage cardboard carpet ceiling-other ceiling-tile cloth "
    "clothes clouds counter cupboard curtain desk-stuff dirt door-stuff fence floor-marble floor-other floor-stone "
    "floor-tile floor-wood flower fog food-other fruit furniture-other grass gravel ground-other hill house leaves "
    "light mat metal mirror-stuff moss mountain mud napkin net paper pavement pillow plant-other plastic platform "
    "playingfield railing railroad river road rock roof rug salad sand sea shelf sky-other skyscraper snow solid-other "
    "stairs stone straw structural-other table tent textile-other towel tree vegetable wall-brick wall-concrete "
    "wall-other wall-panel wall-stone wall-tile wall-wood water-other waterdrops window-blind window-other wood"
)
_CLASSES = tuple(name.replace("_", " ") for name in f"{_THINGS} {_STUFF}".split())
_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # ids of COCO that no picture has
_VALUES = [number - 1 for number in range(1, 183) if number not in _GAPS]
_PALETTE = spread(len(_CLASSES))
_IDS = {**{value: number for number, value in enumerate(_VALUES)}, IGNORE: IGNORE}
_MAPS = Coding(_CLASSES, _PALETTE, _IDS, origin="COCO-Stuff")
_TRAIN_IDS = Coding(_CLASSES, _PALETTE, plain_ids(len(_CLASSES)), origin="COCO-Stuff")
_NOTE = "COCO-Stuff: 171 classes, unlabelled is ignored."
_MASKS = ("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations")


def coco_stuff_splits(root: Path) -> Splits | None:
    """{"train": opener, "val": opener} if root is COCO 2017 with the maps of COCO-Stuff, else None."""
    found: dict[str, PublishedPairs] = {}
    for split in ("train", "val"):
        year = f"{split}2017"
        pictures = next((path for path in (root / year, root / "images" / year) if path.is_dir()), None)
        masks = next((root / name / year for name in _MASKS if (root / name / year).is_dir()), None)
        if pictures and masks:
            ids = any(masks.glob("*_labelTrainIds.png"))
            pairs = partial(pair, root, pictures, masks, mask_end="_labelTrainIds" if ids else "")
            found[split] = pairs, Published(_TRAIN_IDS if ids else _MAPS, _NOTE)
    return published_splits(root, found) or None
