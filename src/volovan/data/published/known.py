"""How large published data sets are, by the last part of the path that recipes call them by: classes, pictures to train
on. A rehearsal goes by it where the data are not there.

Of points, "NAME points": points, and objects that have some. Of segments, "NAME panoptic", where classes are others."""

KNOWN: dict[str, tuple[int, int]] = {
    "imagenet": (1000, 1_281_167),
    "imagenet22k": (21_841, 14_197_122),
    "cub200": (200, 5_994),
    "flowers102": (102, 1_020),
    "vizwiz": (200, 8_900),
    "cifar10": (10, 50_000),
    "digits": (10, 1_433),
    "ade20k": (150, 20_210),
    "coco": (80, 118_287),
    "coco points": (17, 149_813),
    "coco panoptic": (133, 118_287),
    "cityscapes": (19, 2_975),
    "camvid": (11, 367),
    "graz02": (4, 549),
    "duts": (1, 10_553),
    "saliency": (1, 99),
}
