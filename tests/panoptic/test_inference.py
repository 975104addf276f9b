"""From queries to answers: each step of the rule by hand, the sizes, and how much memory it takes."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from volovan.panoptic import inference
from volovan.panoptic.inference import Rule, find_classes, find_objects, find_segments, strips

SURE, NEVER = 12.0, -12.0  # logits
THINGS = (True, True, False)  # of the three classes
SEEN = SIZE = (32, 32)


def classes_of(*wanted: tuple[int, float]) -> Tensor:
    """Logits (N, 4) of queries with a class, 3 for no object, and its probability; the others share the rest."""
    found = torch.empty(len(wanted), 4)
    for row, (label, p) in enumerate(wanted):
        found[row] = (1 - p) / 3
        found[row, label] = p
    return found.log()


def block(rows: slice, columns: slice, inside: float = SURE, outside: float = NEVER) -> Tensor:
    """(8, 8) logits; a cell is 4 x 4 pixels of a picture of 32 x 32."""
    mask = torch.full((8, 8), outside)
    mask[rows, columns] = inside
    return mask


LEFT, RIGHT, ALL = (slice(0, 8), slice(0, 4)), (slice(0, 8), slice(4, 8)), (slice(0, 8), slice(0, 8))


def said(classes: Tensor, masks: list[Tensor], **rule: float) -> tuple[list[int], np.ndarray, list[float]]:
    """Labels, ids and scores."""
    found = find_segments(classes, torch.stack(masks), SEEN, SIZE, THINGS, Rule(**rule))
    return [s.label for s in found.panoptic.segments], found.panoptic.ids, found.scores.tolist()


def half(left: int, right: int) -> np.ndarray:
    ids = np.full(SIZE, left, np.int32)
    ids[:, 16:] = right
    return ids


def test_only_what_is_surer_than_the_score_is_kept() -> None:
    labels, ids, scores = said(classes_of((0, 0.85), (1, 0.75)), [block(*LEFT), block(*RIGHT)])
    assert labels == [0]
    np.testing.assert_array_equal(ids, half(1, 0))
    assert scores == pytest.approx([0.85])
    assert said(classes_of((0, 0.85), (1, 0.75)), [block(*LEFT), block(*RIGHT)], score=0.7)[0] == [0, 1]
    assert said(classes_of((0, 0.85), (1, 0.75)), [block(*LEFT), block(*RIGHT)], score=0.9)[0] == []


def test_no_object_is_none_however_sure() -> None:
    labels, ids, _ = said(classes_of((3, 0.99), (1, 0.9)), [block(*LEFT), block(*RIGHT)])
    assert labels == [1]
    np.testing.assert_array_equal(ids, half(0, 1))


def test_queries_compete_with_score_times_mask() -> None:
    """The second mask is surer (0.9 against 0.88), but not with its score; without scores it would win everything."""
    first, second = (float(torch.tensor(p).logit()) for p in (0.88, 0.90))
    masks = [block(*ALL, inside=first), block(*ALL, inside=second)]
    assert said(classes_of((0, 0.99), (1, 0.85)), masks)[0] == [0]
    assert said(classes_of((0, 0.9), (1, 0.9)), masks)[0] == [1]


def test_what_a_query_wins_without_being_sure_is_nobodys() -> None:
    """The mask of the only query is 0.3 on the right: it wins there, but it is not its segment."""
    labels, ids, _ = said(classes_of((0, 0.9)), [block(*LEFT, outside=float(torch.tensor(0.3).logit()))])
    assert labels == [0]
    assert (ids[:, :14] == 1).all()
    assert (ids[:, 20:] == 0).all()


def test_a_mask_that_others_cover_is_dropped() -> None:
    """Of the first mask (all 32 columns) the second takes 8: 3 / 4 is left."""
    masks = [block(*ALL), block(slice(0, 8), slice(6, 8))]
    classes = classes_of((0, 0.85), (1, 0.95))
    labels, ids, _ = said(classes, masks)
    assert labels == [1]
    assert (ids[:, :23] == 0).all()  # nobody's, not the winner's
    assert said(classes, masks, visible=0.7)[0] == [0, 1]


def test_areas_are_not_multiplied_by_the_score() -> None:
    """A mask of 0.55 is at least 0.5 everywhere, but times 0.85 nowhere: multiplied its area would be 0."""
    labels, ids, _ = said(classes_of((0, 0.85)), [block(*ALL, inside=float(torch.tensor(0.55).logit()))])
    assert labels == [0]
    assert (ids == 1).all()


def test_what_is_won_beyond_the_mask_counts_but_is_nobodys() -> None:
    """The first query wins all where it is 0.4, as much as its mask; of its mask itself a quarter is lost."""
    unsure = float(torch.tensor(0.4).logit())
    second = block(slice(0, 8), slice(3, 4))
    classes = classes_of((0, 0.85), (1, 0.95))
    labels, ids, _ = said(classes, [block(slice(0, 8), slice(0, 4), outside=unsure), second])
    assert labels == [0, 1]  # it wins 7 / 4 of its mask
    assert (ids[:, :11] == 1).all()
    assert (ids[:, 18:] == 0).all()  # unsure
    assert said(classes, [block(slice(0, 8), slice(0, 4)), second])[0] == [1]  # 3 / 4


def test_stuff_of_one_class_is_one_segment_and_things_are_not() -> None:
    masks = [block(*LEFT), block(*RIGHT)]
    labels, ids, scores = said(classes_of((2, 0.85), (2, 0.95)), masks)
    assert labels == [2]
    assert (ids == 1).all()
    assert scores == pytest.approx([0.95])
    labels, ids, _ = said(classes_of((1, 0.9), (1, 0.9)), masks)
    assert labels == [1, 1]
    np.testing.assert_array_equal(ids, half(1, 2))


def test_nothing_sure_is_void() -> None:
    labels, ids, scores = said(classes_of((0, 0.5)), [block(*ALL)])
    assert (labels, scores) == ([], [])
    assert ids.dtype == np.int32
    assert not ids.any()


# Objects


def test_objects_are_sorted_by_class_times_mask() -> None:
    masks = torch.stack([block(*LEFT, inside=float(torch.tensor(0.6).logit())), block(*RIGHT)])
    found = find_objects(classes_of((0, 0.9), (1, 0.8)), masks, SEEN, SIZE, most=2)
    assert found.labels.tolist() == [1, 0]  # 0.8 x 1 before 0.9 x 0.6
    assert found.scores[0] == pytest.approx(0.8, abs=0.01)
    assert found.scores[1] == pytest.approx(0.9 * 0.6, abs=0.02)
    assert [raster.mask.shape for raster in found.masks] == [(32, 16), (32, 14)]  # 0.6 fades sooner
    assert (found.masks[0].x, found.masks[0].y) == (16, 0)


def test_a_query_may_be_of_several_classes_and_the_most_likely_are_taken() -> None:
    masks = torch.stack([block(*LEFT), block(*RIGHT)])
    classes = torch.tensor([[0.5, 0.4, 0.05, 0.05], [0.1, 0.1, 0.1, 0.7]]).log()
    found = find_objects(classes, masks, SEEN, SIZE, most=2)
    assert found.labels.tolist() == [0, 1]
    assert found.masks[0] is found.masks[1]
    assert len(find_objects(classes, masks, SEEN, SIZE).labels) == 6  # all, never that of no object


def test_objects_are_things_and_have_a_pixel() -> None:
    masks = torch.stack([block(*LEFT), block(slice(0, 0), slice(0, 0))])
    classes = classes_of((2, 0.9), (1, 0.9))
    found = find_objects(classes, masks, SEEN, SIZE, most=2, things=THINGS)
    assert len(found.labels) == 0
    assert find_objects(classes, masks, SEEN, SIZE, most=2).labels.tolist() == [2]


# Classes of pixels


def test_classes_are_summed_over_queries() -> None:
    """Two queries that say class 1 with 0.3 each outdo one that says class 0 with 0.5; no object does not count."""
    masks = torch.stack([block(*ALL), block(*LEFT), block(*LEFT)])
    classes = torch.tensor([[0.5, 0.0, 0.0, 0.5], [0.0, 0.3, 0.0, 0.7], [0.0, 0.3, 0.0, 0.7]]).clamp(min=1e-9).log()
    np.testing.assert_array_equal(find_classes(classes, masks, SEEN, SIZE).numpy(), half(1, 0))


def test_classes_are_the_same_in_half_precision() -> None:
    """0.500 against 0.501, which bfloat16 takes for one number."""
    masks = torch.stack([block(*ALL), block(*ALL)])
    classes = torch.tensor([[0.5, 0.0, 0.0, 0.5], [0.0, 0.501, 0.0, 0.499]]).clamp(min=1e-9).log()
    with torch.autocast("cpu", torch.bfloat16):
        assert (find_classes(classes, masks, SEEN, SIZE) == 1).all()


# Sizes


@pytest.mark.parametrize("strip", [1, 3000, 1 << 22])
@pytest.mark.parametrize(
    ("seen", "size"),
    [((64, 96), (64, 96)), ((50, 90), (50, 90)), ((50, 90), (131, 77)), ((64, 96), (20, 31)), ((1, 1), (3, 2))],
)
def test_masks_are_stretched_as_a_whole_would_be(
    seen: tuple[int, int], size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the padded images, cropped, to the picture: in strips of any height the same."""
    monkeypatch.setattr(inference, "STRIP", strip)
    masks = torch.randn(3, 16, 24)
    whole = F.interpolate(masks[None], size=(64, 96), mode="bilinear", align_corners=False)
    whole = F.interpolate(whole[..., : seen[0], : seen[1]], size=size, mode="bilinear", align_corners=False)[0]
    parts = list(strips(masks, seen, size))
    assert (len(parts) == size[0]) == (strip == 1 or size[0] == 1)
    found = torch.cat([own for _, own in parts], dim=1)
    assert [row for rows, _ in parts for row in range(rows.start, rows.stop)] == list(range(size[0]))
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)


def test_all_answers_have_the_size_of_the_picture() -> None:
    torch.manual_seed(0)
    classes, masks = 4 * torch.randn(9, 4), 3 * torch.randn(9, 8, 16)
    seen, size = (27, 60), (41, 93)
    found = find_segments(classes, masks, seen, size, THINGS, Rule(0.5, 0.1))
    assert found.panoptic.ids.shape == size
    assert {*np.unique(found.panoptic.ids)} - {0} == {segment.id for segment in found.panoptic.segments}
    assert len(found.scores) == len(found.panoptic.segments) > 0
    assert find_classes(classes, masks, seen, size).shape == size
    for raster in find_objects(classes, masks, seen, size).masks:
        assert raster.y + raster.mask.shape[0] <= size[0]
        assert raster.x + raster.mask.shape[1] <= size[1]


# Memory


class Held(TorchDispatchMode):
    """Bytes that tensors made within hold at once, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key = storage.data_ptr()
                if key not in self.storages:
                    self.storages.add(key)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.gone, key, storage.nbytes())
        return made

    def gone(self, key: int, size: int) -> None:
        self.storages.discard(key)
        self.now -= size


@pytest.mark.parametrize("what", ["segments", "objects", "classes"])
def test_memory_is_that_of_strips_and_of_the_answer(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 queries, all of them kept; their masks of the size of the picture would take 80 MB, twice with scores."""
    monkeypatch.setattr(inference, "STRIP", 1 << 18)
    classes, masks = classes_of(*((number % 2, 0.9) for number in range(40))), torch.randn(40, 16, 16)
    size = (700, 800)
    with Held() as held:
        if what == "segments":
            find_segments(classes, masks, (64, 64), size, THINGS, Rule(visible=0.0))
        elif what == "objects":
            find_objects(classes, masks, (64, 64), size)
        else:
            find_classes(classes, masks, (64, 64), size)
    answer = 8 * size[0] * size[1]
    assert held.peak < answer + 10 * 4 * (1 << 18)
    assert held.peak > 4 * (1 << 17)  # the count counts
