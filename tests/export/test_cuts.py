"""Both parts of a cut network together are the network, for every head; of a file other programs run the first."""

import numpy as np
import pytest
import torch

from exported import CASES, NAMES, odd_pictures, ready
from networks import FAMILIES
from volovan.classify.targets import Outputs
from volovan.detect.fixed import suppress
from volovan.exports.about import About
from volovan.exports.exporting import about_of
from volovan.exports.opened import in_use
from volovan.exports.verify import prepared
from volovan.room.cut import CutOff
from volovan.use.rooms import ROOMS

ALL = pytest.mark.parametrize(("task", "head"), CASES)


def opened(found, **how):
    """In place of a file the network itself."""
    about = about_of(found, **how)
    part = CutOff(found.model, found.cut, about.raw)
    about = About.read(about.text(), "a file")

    @torch.no_grad()
    def run(images):
        assert images.dtype == (torch.uint8 if about.raw else torch.float32)
        return part(images)

    return in_use(ROOMS[about.task].ready(), about, run)


@ALL
def test_answers_are_those_of_the_network(task, head):
    found = ready(task, head)
    pictures = odd_pictures(10)
    expected, answers = found.predict(pictures), opened(found).predict(pictures)
    for own, right in zip(answers, expected, strict=True):
        assert own.agrees(right) > 0.999
        assert own.row().keys() == right.row().keys()
    if task in ("detect", "panoptic", "pose"):
        assert sum(len(answer) for answer in expected) >= 5, "networks that find nothing agree by all means"


@ALL
def test_it_describes_itself_as_its_checkpoint_does(task, head):
    found = ready(task, head)
    again = ROOMS[task].ready().described(About.read(about_of(found).text(), "a file").said, found.name)
    assert about_of(again).text() == about_of(found).text()
    assert again.model.state_dict().keys() == found.model.state_dict().keys()


@pytest.mark.slow
@FAMILIES
def test_every_family(family):
    found = ready("segment", "fpn", family)
    answers = opened(found).predict(odd_pictures(3))
    for own, right in zip(answers, found.predict(odd_pictures(3)), strict=True):
        assert own.agrees(right) == 1


def test_bytes_and_batches_of_one_size():
    found = ready("classify", None)
    pictures = odd_pictures(7)
    expected = [answer.row() for answer in found.predict(pictures)]
    several = opened(found, raw=True, size=(64, 64), batch=4)
    for own, right in zip(several.predict(pictures), expected, strict=True):
        for one, other in zip(own.row()["top"], right["top"], strict=True):
            assert one["class"] == other["class"]
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
    with pytest.raises(ValueError, match="takes pictures of 64 x 64 only, these are 96 x 96; leave --size out"):
        several.using(size=(96, 96)).predict(pictures[0])


def test_another_choice_of_detections_is_refused():
    found = opened(ready("detect", "faster_rcnn", score=0.1))
    assert len(found.using(score=0.2).predict(odd_pictures(1)[0])) >= 0
    with pytest.raises(ValueError, match=r"the file chooses detections itself, of a score above 0\.1"):
        found.using(score=0.05).predict(odd_pictures(1)[0])
    with pytest.raises(ValueError, match="export the network with these"):
        found.using(nms=0.3).predict(odd_pictures(1)[0])


def test_suppression_of_several_pictures():
    """Against torchvision, picture by picture, with ties and with nothing."""
    from torchvision.ops import nms

    generator = torch.Generator().manual_seed(0)
    low = 30 * torch.rand(3, 40, 2, generator=generator)
    boxes = torch.cat((low, low + 20 * torch.rand(3, 40, 2, generator=generator)), dim=2)
    scores = torch.rand(3, 40, generator=generator).round(decimals=1) - 0.3
    scores[2] = -1
    rows = suppress(boxes, scores, 0.3, 8)
    for own, own_boxes, own_scores in zip(rows, boxes, scores, strict=True):
        there = (own_scores > 0).nonzero()[:, 0]
        right = there[nms(own_boxes[there], own_scores[there], 0.3)][:8]
        assert own[own >= 0].tolist() == right.tolist()
        assert (own[len(right) :] == -1).all()


def test_agreement_counts_what_differs():
    """An answer agrees with itself, and less with one that was changed."""
    picture = odd_pictures(8)[7]
    mask = ready("segment", "fpn").predict(picture)
    other = type(mask)(1 - np.minimum(mask.mask, 1), mask.classes, mask.palette, picture=mask.picture)
    assert mask.agrees(mask) == 1
    assert other.agrees(mask) < 1
    objects = ready("detect", "retinanet").predict(picture)
    fewer = type(objects)(objects.found.only(np.arange(1)), objects.size, objects.classes, picture=objects.picture)
    assert objects.agrees(objects) == 1
    assert 0 < objects.agrees(fewer) < 1
    assert objects.agrees(fewer) == fewer.agrees(objects)
    segments = ready("panoptic", "mask2former").predict(picture)
    assert segments.agrees(segments) == 1


ANSWERING = [each for each in CASES if each.values[0] in ("classify", "segment", "saliency", "detect")]


@pytest.mark.parametrize(("task", "head"), ANSWERING)
def test_answers_inside_are_those_outside(task, head):
    """Of pictures that are seen as they are, so that nothing is resized outside."""
    found = ready(task, head, **({"size": None, "shown": 0.0, "score": 0.1} if task == "detect" else {}))
    pictures = [picture.convert("RGB").resize((64, 64)) for picture in odd_pictures(3)]
    images = prepared(found, pictures, (64, 64))
    cut = found.answering()
    with torch.no_grad():
        outputs = cut.inside(found.model, images)
        own = [dict(zip(cut.outputs, one, strict=True)) for one in zip(*outputs, strict=True)]
        how = {"choice": found._choice()} if task == "detect" else {}
        said = found.cut.outside(found.model, found.cut.inside(found.model, images), images, **how)
    assert len(own) == 3
    for number, answer in enumerate(own):
        if task == "classify":
            torch.testing.assert_close(answer["probabilities"], said[number].softmax(0))
        elif task == "segment":
            assert answer["mask"].dtype == torch.uint8
            assert (answer["mask"] == said[number].argmax(0)).all()
        elif task == "saliency":
            assert (answer["map"] == (255 * said[number, 0].sigmoid()).round()).all()
        else:
            there, right = answer["scores"] > 0, said[number]
            assert int(there.sum()) == pytest.approx(len(right), abs=2)
            # of boxes that overlap by the bound to the last bit either may stay: they lie elsewhere while it is decided
            columns = [(answer["boxes"], right.boxes), (answer["scores"][:, None], right.scores[:, None])]
            columns.append((answer["labels"][:, None], right.labels[:, None]))
            own_rows, rows = (torch.cat([one.double() for one in ones], 1) for ones in zip(*columns, strict=True))
            nearest = torch.cdist(own_rows[there], rows).amin(dim=1)
            assert len(right) > 0
            assert (nearest < 1e-3).double().mean() > 0.9


def test_numbers_and_several_labels():
    found = ready("classify", None)
    images = prepared(found, [odd_pictures(1)[0]], (64, 64))
    for outputs in (Outputs("multi_label", NAMES), Outputs("regression", NAMES, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))):
        found.outputs = outputs
        with torch.no_grad():
            (values,) = found.answering().inside(found.model, images)
            torch.testing.assert_close(values.double(), outputs.decode(found.model(images)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("task", "head"), [("pose", "simple"), ("panoptic", "mask2former")])
def test_what_is_made_outside_is_said(task, head):
    with pytest.raises(ValueError, match="are made outside of the graph; leave --answers out"):
        ready(task, head).answering()
