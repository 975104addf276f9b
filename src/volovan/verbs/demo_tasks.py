"""What `volovan demo` trains for each task, and what its page says and shows of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """One network after fit, validate and predict; metrics: those of `volovan validate`."""

    recipe: str
    folder: Path
    metrics: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Column:
    """Of the table of networks: heading, key of metrics.json, format of the value, which not every network has."""

    heading: str
    key: str
    form: str

    def say(self, metrics: dict[str, Any]) -> str:
        value = metrics.get(self.key)
        return "-" if value is None else self.form.format(value)


@dataclass(frozen=True)
class Demo:
    """A demo of one task.

    nets      name of a network -> packaged recipe
    data      source and kind of the validation data, of which `pictures` are written to files `picture`_00.png ...
    curve     column of metrics.csv that is drawn over the epochs, and the label of its axis
    figures   a picture below the folder of a run -> what it shows, as HTML
    score     what the first column of the table means, for the last line on the terminal
    follow    last paragraph of the page, as HTML
    words     of `volovan predict`, of a network that needs some; {folder} is that of the demo
    """

    title: str
    intro: str
    nets: dict[str, str]
    data: tuple[str, str]
    picture: str
    pictures: int
    columns: tuple[Column, ...]
    curve: tuple[str, str]
    figures: dict[str, str]
    score: str
    follow: str
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)


_COUNT = Column("validation pictures", "pictures", "{}")
_PREDICTED = "<code>volovan predict {folder} PICTURES</code>"

DEMOS = {
    "classify": Demo(
        title="Which digit is it?",
        intro="Two small networks, trained from scratch on the 1,797 handwritten digits that come with the package "
        "(UCI, CC BY 4.0), then validated and used on picture files.",
        nets={"VAN": "digits_van", "VOLO": "digits_volo"},
        data=("digits", "class"),
        picture="digit",
        pictures=36,
        columns=(Column("top-1", "top1", "{:.2f} %"), Column("calibration error", "ece", "{:.3f}"), _COUNT),
        curve=("top1", "top-1 on validation data, %"),
        figures={
            "validation/confusion.png": "Confusion matrix on the validation digits.",
            "predictions/sheet.png": f"Predictions of {_PREDICTED}.",
        },
        score="top-1 on the validation digits",
        follow="<code>volovan fit finetune_folder --data.source YOUR_FOLDER</code> trains on pictures of your own, one "
        "folder per class",
    ),
    "segment": Demo(
        title="Which shape does each pixel belong to?",
        intro="Two small networks that give every pixel a class, trained from scratch on scenes the package draws: "
        "seven shapes over three kinds of ground, in colours that say nothing of the class. They were validated on "
        "scenes that they had not seen, and used on picture files.",
        nets={"VAN": "shapes_van", "VOLO": "shapes_volo"},
        data=("shapes", "mask"),
        picture="shapes",
        pictures=12,
        columns=(Column("mIoU", "miou", "{:.2f} %"), Column("right pixels", "aacc", "{:.2f} %"), _COUNT),
        curve=("miou", "mIoU on validation scenes, %"),
        figures={
            "predictions/sheet.png": f"Predictions of {_PREDICTED}.",
            "validation/confusion.png": "Confusion of pixels on the validation scenes.",
            "validation/pictures/worst_01.png": "The validation scene with the lowest mIoU.",
            "validation/pictures/best_01.png": "The one with the highest.",
        },
        score="mIoU on the validation scenes",
        follow="<code>volovan fit finetune_masks --data.source YOUR_FOLDER</code> trains on pictures and masks of your "
        "own",
    ),
    "saliency": Demo(
        title="What stands out?",
        intro="A small network that finds what stands out of a picture, trained from scratch on scenes the package "
        "draws, then validated on scenes it had not seen and used to cut the objects out of picture files.",
        nets={"EDN": "shapes_edn"},
        data=("shapes", "map"),
        picture="scene",
        pictures=12,
        columns=(
            Column("MAE", "mae", "{:.4f}"),
            Column("max F", "maxf255", "{:.3f}"),
            Column("S-measure", "s", "{:.3f}"),
            _COUNT,
        ),
        curve=("mae", "MAE on validation scenes"),
        figures={
            "predictions/sheet.png": f"Picture, map and cut-out, by {_PREDICTED}.",
            "validation/pictures/worst_01.png": "The validation scene with the largest error.",
            "validation/pictures/best_01.png": "The one with the least.",
            "validation/curves.png": "Precision, recall and F over thresholds on the validation scenes.",
        },
        score="MAE on the validation scenes",
        follow="<code>volovan fit finetune_saliency --data.source YOUR_FOLDER</code> trains on pictures and masks of "
        "your own",
    ),
    "detect": Demo(
        title="Where are the shapes?",
        intro="Two small networks that find objects, trained from scratch on scenes the package draws: seven shapes "
        "that hide parts of each other. One gives boxes, the other outlines too. They were validated on scenes that "
        "they had not seen, and used on picture files.",
        nets={"GFL": "shapes_detect", "Mask-R-CNN": "shapes_masks"},
        data=("shapes", "boxes"),
        picture="scene",
        pictures=12,
        columns=(
            Column("AP", "ap", "{:.3f}"),
            Column("AP50", "ap50", "{:.3f}"),
            Column("AP of masks", "mask_ap", "{:.3f}"),
            _COUNT,
        ),
        curve=("ap", "AP on validation scenes"),
        figures={
            "predictions/sheet.png": f"Predictions of {_PREDICTED}.",
            "validation/pictures/worst_01.png": "The validation scene that was judged worst.",
            "validation/pictures/best_01.png": "The one that was judged best.",
            "validation/confusion.png": "What was found for what on the validation scenes.",
            "validation/precision_recall_boxes.png": "Precision over recall of each class.",
        },
        score="AP on the validation scenes",
        follow="<code>volovan fit finetune_yolo --data.source YOUR_FOLDER</code> trains on pictures and boxes of your "
        "own, <code>finetune_coco</code> on outlines",
    ),
    "panoptic": Demo(
        title="What does each pixel belong to?",
        intro="A small network that tells things apart and names what lies around them, trained from scratch on scenes "
        "the package draws: seven shapes, which are counted, over three kinds of ground, which are not. It was "
        "validated on scenes that it had not seen, and used on picture files.",
        nets={"Mask2Former": "shapes_panoptic"},
        data=("shapes", "panoptic"),
        picture="scene",
        pictures=12,
        columns=(
            Column("PQ", "pq", "{:.3f}"),
            Column("PQ of things", "pq_things", "{:.3f}"),
            Column("PQ of grounds", "pq_stuff", "{:.3f}"),
            Column("AP of masks", "mask_ap", "{:.3f}"),
            Column("mIoU", "miou", "{:.3f}"),
            _COUNT,
        ),
        curve=("pq", "PQ on validation scenes"),
        figures={
            "predictions/sheet.png": f"Predictions of {_PREDICTED}.",
            "validation/pictures/worst_01.png": "The validation scene that was judged worst.",
            "validation/pictures/best_01.png": "The one that was judged best.",
            "validation/quality.png": "Quality of each class.",
        },
        score="PQ on the validation scenes",
        follow="<code>volovan fit finetune_panoptic --data.source YOUR_FOLDER</code> trains on segments of your own",
    ),
    "pose": Demo(
        title="How do they stand?",
        intro="Two small networks, trained from scratch on scenes the package draws: one finds figures among other "
        "shapes, the other one places seven points on each of them: head, neck, hip, hands and feet. Left is the left "
        "of the figure, who faces us. They were validated on scenes that they had not seen, and used together on "
        "picture files. The AP of the first is that of boxes, that of the second of points (OKS), in boxes that are "
        "known.",
        nets={"GFL": "shapes_detect", "SimpleBaseline": "shapes_pose"},
        data=("shapes", "points"),
        picture="scene",
        pictures=12,
        columns=(
            Column("AP", "ap", "{:.3f}"),
            Column("AP50", "ap50", "{:.3f}"),
            Column("PCK", "pck", "{:.3f}"),
            _COUNT,
        ),
        curve=("ap", "AP on validation scenes"),
        figures={
            "predictions/sheet.png": f"Predictions of {_PREDICTED}.",
            "validation/pictures/worst_01.png": "The validation scene that was judged worst.",
            "validation/pictures/best_01.png": "The one that was judged best.",
            "validation/points.png": "Share of the points of each name that are near.",
        },
        score="AP on the validation scenes",
        follow="<code>volovan fit finetune_pose --data.source YOUR_FOLDER</code> trains on points of your own",
        words={"SimpleBaseline": ("--detector", "{folder}/gfl", "--detector-class", "figure")},
    ),
}
