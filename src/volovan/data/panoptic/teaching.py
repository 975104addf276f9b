"""Whether the segments of a split teach anything: a run and check-data ask it alike, of all of them."""

from volovan.data.errors import BadImage
from volovan.data.panoptic.segments import Panoptic
from volovan.data.samples import spread_first
from volovan.data.source import Source

_FIRST = 100  # pictures, spread over all, that are looked at first: as a rule the first one is enough


def useless_segments(spec: object, source: Source[Panoptic], split: str) -> str:
    """Why nothing can be learned from segments or scored on them, "" if it can: one is needed that is no crowd.

    spec  what the user calls the source
    """
    crowds = 0
    readable = False
    for index in spread_first(len(source), _FIRST):
        try:
            segments = source.target(index).segments
        except BadImage:
            continue  # for the loader to report or to skip
        readable = True
        crowds += len(segments)
        if not all(segment.crowd for segment in segments):
            return ""
    if not readable:
        return ""
    other = "" if split == "train" else ", or name other data with --data.val"
    but = f" (crowds: {crowds:,})" if crowds else ""
    return (
        f"{spec}: no picture of the {split} split ({len(source):,}) shows a segment{but}, so nothing can be "
        f"{'learned' if split == 'train' else 'scored'}; paint some{other}"
    )
