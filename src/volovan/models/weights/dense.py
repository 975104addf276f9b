"""Weights of dense networks: whole networks of our runs, files of mmsegmentation, and trunks alone.

A file is recognised by its names, never by its own name:

    trunk.*, head.*              a network of ours; under the head of another task it is a trunk
    backbone.*, decode_head.*    mmsegmentation; with bbox_head.*, rpn_head.* or roi_head.* mmdetection
    backbone.body.*              torchvision, see volovan.detect.keymaps
    anything else                a trunk as `volovan.load_weights` knows it; the head is new, and that is said

VAN in mmsegmentation has LayerNorm eps 1e-5, in classification 1e-6 (van.md 9). Files do not hold it, and the maps of
small activations differ visibly, so loading such a file sets the eps of the network to 1e-5, in its config too.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from volovan.files.runs import best_checkpoint, is_run
from volovan.models.dense import DenseModel
from volovan.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from volovan.models.van import VAN
from volovan.models.weights.find import Weights, built_for, read_weights, stated_preprocessing
from volovan.models.weights.fit import HEADS, Fit, LoadReport, compare, fit, recognise, report, take
from volovan.models.weights.keymaps import Table, in_our_names, renamed_state, translate
from volovan.models.weights.networks import State, unnested_state
from volovan.models.weights.reading import RawFile, WeightsError, safe_read
from volovan.models.weights.rows import follow_names

OURS, ALONE = "volovan", "trunk"
THEIRS = {
    "decode_head.": "mmsegmentation",
    "bbox_head.": "mmdetection",
    "rpn_head.": "mmdetection",
    "keypoint_head.": "mmpose",
}
"""beginning of names that betray them -> the framework"""
THEIR_EPS = 1e-5
NO_WEIGHTS = ("data_preprocessor.", "bbox_head.integral.")
"""what their files hold besides: mean and std of pictures, the numbers 0 to 16"""
TRUNK: Table = (("trunk.{rest}", "backbone.{rest}"),)
"""pair (ours, mmsegmentation's) of the trunk; the placeholders are those of models/weights/keymaps.py"""
# mmsegmentation 1.x has this convolution without the level `dwconv` of the authors' code (0.x).
ONE_LEVEL = re.compile(r"(trunk\.block\d+\.\d+\.mlp\.dwconv)\.(weight|bias)")
# Parts of a classification network, beside its heads, that no map passes through (models/dense.py).
NO_MAP = ("norm.", "post_network.", "cls_token")


def load_dense_weights(
    model: DenseModel, source: str | Path, ema: bool = True, classes: Sequence[str] | None = None
) -> LoadReport:
    """Load a whole network, or a trunk alone, into a dense network.

    source   a file, a run folder, a name of the table of published weights, or a hub name
             "hf:organisation/repository[/file]"
    ema      take averaged weights where the file has them beside the others
    classes  names of the outputs of the network: rows of its classifiers follow them
    returns  LoadReport; `model.preprocessing` is set where the source states it. New, and then in its notes: the
             classifier where the classes differ in number, the head where the file has none, the auxiliary head where
             the file has none
    raises   WeightsError (a ValueError): not found, unreadable, or it does not fit. Then nothing was loaded.
    """
    weights = read_weights(source, model.config.trunk["name"])
    state, layout, notes = read_state(weights.raw, model, ema)
    classifiers = model.find_head(model.config.head).classifiers
    state, followed = follow_names(state, model.state_dict(), classifiers, weights.classes, classes, "classifier")
    result = fit_dense(model, state, weights)
    if not result.fits(strict=True):
        raise misfit(model, weights, state, result)
    take(model, weights.path, result)
    notes += [*followed, *result.notes]
    if layout in THEIRS.values():
        notes += follow_openmmlab(model, layout)
    elif model.statistics_of_trunk or model.head_of(state) is not None:
        model.preprocessing = stated_preprocessing(model.trunk.config, model.preprocessing, weights)
    return report(weights.path, layout, result, notes, alarm=" new")


def holds_head(kind: type[DenseModel], source: str | Path) -> bool:
    """Whether a file, or the best checkpoint of a run folder, holds a head of this kind of network; False for a trunk,
    and for names that are nothing on this machine."""
    path = Path(source).expanduser()
    path = best_checkpoint(path) if is_run(path) else path

    def headed(state: State) -> int:
        return int(kind.head_of(state) is not None)

    return path.is_file() and kind.head_of(unnested_state(safe_read(path), fits=headed)[0]) is not None


def read_state(raw: RawFile, model: DenseModel, ema: bool) -> tuple[State, str, list[str]]:
    """State dict in our names, whose names it had, and what was decided on the way (sentences)."""
    return renamed_state(raw, ema, lambda state: _in_our_names(raw, state, model), model.state_dict())


def _in_our_names(raw: RawFile, state: State, model: DenseModel) -> tuple[State, str]:
    if any(key.startswith("trunk.") for key in state):
        return state, OURS
    if (found := model.foreign(state)) is not None:
        return found
    theirs = next((name for begin, name in THEIRS.items() if any(key.startswith(begin) for key in state)), None)
    if theirs is not None:
        state = {key: t for key, t in state.items() if not key.startswith(NO_WEIGHTS)}
        state = translate(state, (*model.find_head(model.config.head).theirs, *TRUNK), back=True)
        return {ONE_LEVEL.sub(r"\1.dwconv.\2", key): t for key, t in state.items()}, theirs
    state, layout = in_our_names(raw, state)
    held = model.trunk.state_dict()
    trunk = {key: t for key, t in state.items() if key in held or not key.startswith((*HEADS, *NO_MAP))}
    return {f"trunk.{key}": t for key, t in trunk.items()}, f"{ALONE}, {layout}"


# Comparing


def fit_dense(model: DenseModel, state: State, weights: Weights) -> Fit:
    """Compare a state dict in our names with a network; the trunk as `fit` does, the rest name by name."""
    found = fit(model.trunk, part_of_trunk(state), built_for(weights))
    result = Fit(
        tensors={f"trunk.{key}": tensor for key, tensor in found.tensors.items()},
        missing=[f"trunk.{key}" for key in found.missing],
        unexpected=[f"trunk.{key}" for key in found.unexpected],
        wrong_shape=[f"trunk.{line}" for line in found.wrong_shape],
        notes=found.notes,
    )
    target = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("trunk.")}
    rest = {key: tensor for key, tensor in state.items() if not key.startswith("trunk.")}
    if model.head_of(state) is None:  # a trunk, perhaps with its pyramid, perhaps under the head of another task
        rest = {key: tensor for key, tensor in rest.items() if key.startswith("pyramid.")}
        optional: tuple[str, ...] = ("head.", "aux_head.", *(() if rest else ("pyramid.",)))
        result.notes.append(f"the head {model.config.head} is new: the file has none for {model.task}")
    else:
        optional = ("aux_head.",) if not any(key.startswith("aux_head.") for key in rest) else ()
        if optional and model.aux_head is not None:
            result.notes.append("the auxiliary head is new: the file has none")
        if model.aux_head is None and not optional:
            rest = {key: tensor for key, tensor in rest.items() if not key.startswith("aux_head.")}
            result.notes.append("the auxiliary head of the file was left out: the model has none")
    classifiers = model.find_head(model.config.head).classifiers
    compare(result, rest, target, tuple(classifiers), optional)
    if result.new_head:
        new = result.new_head[0]
        layout = next(layout for begin, layout in classifiers.items() if new.startswith(begin))
        classes, in_file = model.config.num_classes, layout.classes(len(rest[new]))
        result.notes.append(f"the classifier for {classes} classes is new: that of the file has {in_file}")
    return result


def part_of_trunk(state: State) -> State:
    return {key.removeprefix("trunk."): t for key, t in state.items() if key.startswith("trunk.")}


def misfit(model: DenseModel, weights: Weights, state: State, result: Fit) -> WeightsError:
    """What the file holds instead, as far as it can be told, and the three lists."""
    trunk, head = model.config.trunk["name"], model.config.head
    config: dict[str, Any] = weights.about.get("config", {})
    found_trunk = config.get("trunk", {}).get("name") or recognise(part_of_trunk(state)) or trunk
    found_head = model.head_of(state)
    found = f"{weights.path.name} does not fit {trunk} with {head}; nothing was loaded"
    if (found_trunk, found_head or head) != (trunk, head):
        names = f'"{found_trunk}"' + (f', "{found_head}"' if found_head else "")
        return WeightsError(
            f"{found}. It holds {' with '.join(filter(None, (found_trunk, found_head)))}",
            f"use {model.create}({names}, ...)",
            f"add --model.name {found_trunk}" + (f" --model.head {found_head}" if found_head else ""),
            details=result.misfits(),
        )
    if not config:
        return WeightsError(found, details=result.misfits())
    return WeightsError(
        f"{found}. It is a run with other settings",
        "take trunk_options, head_options and pyramid from its recipe.yaml",
        "take --model.options and --model.head_options from its recipe.yaml",
        details=result.misfits(),
    )


# What mmsegmentation and mmdetection do otherwise


def follow_openmmlab(model: DenseModel, layout: str) -> list[str]:
    """LayerNorm eps and normalisation of pictures as there; says what was changed."""
    notes = []
    trunk = model.trunk
    if isinstance(trunk, VAN) and trunk.config.norm_eps != THEIR_EPS:
        notes.append(f"the LayerNorm eps was set from {trunk.config.norm_eps:g} to {THEIR_EPS:g}, {layout}'s")
        for norm in trunk.modules():
            if isinstance(norm, nn.LayerNorm):
                norm.eps = THEIR_EPS
        trunk.config = replace(trunk.config, norm_eps=THEIR_EPS)
        model.config = replace(model.config, trunk={**model.config.trunk, "norm_eps": THEIR_EPS})
    if trunk.config.in_chans == len(IMAGENET_MEAN):
        model.preprocessing = replace(model.preprocessing, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return notes
