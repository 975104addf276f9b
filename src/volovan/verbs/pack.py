"""volovan pack SOURCE --out FOLDER"""

import argparse

from volovan.use.rooms import ROOMS

_SAID = ("size", "quality", "shard_mb", "workers", "on_bad", "drawn_on")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="whatever fit takes: class folders, images and masks, lists, COCO, YOLO ...")
    parser.add_argument("--out", required=True, help="a new folder, which fit, validate and check-data take as source")
    parser.add_argument("--task", choices=tuple(ROOMS), default="classify", help="whose targets go along")
    parser.add_argument(
        "--size",
        type=int,
        help="what the shorter side is at most (512; segment, detect, panoptic, pose: 1024); smaller pictures lose "
        "nothing; 0: none is made smaller",
    )
    parser.add_argument("--quality", type=int, default=95, help="of the JPEGs of pictures that are made smaller")
    parser.add_argument("--shard-mb", type=int, default=256, help="size of a shard at most, in MiB")
    parser.add_argument(
        "--drawn-on", choices=("shown", "stored"), help="where EXIF turns pictures: what their masks were drawn on"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that read pictures; 0: none but this one")
    parser.add_argument("--on-bad", choices=("stop", "skip"), default="stop", help="of unreadable pictures")


def run(args: argparse.Namespace) -> int:
    import signal

    from volovan.engine.progress import speak
    from volovan.engine.signals import as_interrupted
    from volovan.use.pack import pack

    said = {name: value for name, value in vars(args).items() if name in _SAID}
    with as_interrupted(signal.SIGTERM):  # which leaves nothing behind
        made = pack(args.source, args.out, task=args.task, say=speak, **said)
    counts = ", ".join(f"{count:,} of {split}" for split, count in made.pictures.items())
    print(f"packed {counts}: {made.bytes / 2**20:,.1f} MiB in {made.seconds:.1f} s, read again and found whole")
    if made.left_out:
        print(f"{len(made.left_out):,} picture(s) could not be read and are left out")
    print(f"wrote {made.folder}. Next: volovan fit RECIPE --data.source {made.folder}")
    return 1 if made.left_out else 0
