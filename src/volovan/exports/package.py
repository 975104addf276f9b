"""A folder that is handed on: the weights alone, a card, code that runs, and a picture of what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from volovan.data.pictures.sheet import contact_sheet
from volovan.exports import PACKAGED
from volovan.exports.card import card
from volovan.files.checkpoint import write_checkpoint
from volovan.files.pictures import save_picture
from volovan.room.ready import Ready

CODE, PICTURE, CARD = "predict.py", "predictions.png", "README.md"
CELL = 320
USE = '''"""What the network says of pictures: python predict.py photo.jpg"""

import sys
from pathlib import Path

import volovan

network = volovan.load(Path(__file__).parent / "model.safetensors")
for name in sys.argv[1:]:
    try:
        answer = network.predict(name)
    except ValueError as error:
        print(error, file=sys.stderr)
        continue
    print(name, answer.row())
    answer.draw().save(f"{Path(name).stem}_predicted.png")
'''


def write_package(
    ready: Ready[Any],
    folder: Path,
    name: str,
    pictures: Sequence[Image.Image],
    data: str = "",
    figures: Mapping[str, float] | None = None,
) -> None:
    """Fill a folder.

    pictures  of which predictions are shown
    data      what it was trained on
    figures   of a validation
    """
    write_checkpoint(
        folder / PACKAGED,
        {"model": dict(ready.model.state_dict()), "task": ready.describe(), "state": {}, "averaged": False},
    )
    drawn = [answer.draw() for answer in ready.predict(list(pictures))]
    save_picture(folder / PICTURE, contact_sheet(drawn, [""] * len(drawn), cell=CELL))
    use = (
        f'import volovan\n\nanswer = volovan.load("{PACKAGED}").predict("photo.jpg")\nanswer.draw().save("answer.png")'
    )
    text = card(ready, name, use=use, data=data, figures=figures, picture=PICTURE)
    (folder / CARD).write_text(text, encoding="utf-8")
    (folder / CODE).write_text(USE, encoding="utf-8")
