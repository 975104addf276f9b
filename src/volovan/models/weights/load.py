"""load_weights: find a file, read it safely, bring it to our names, compare everything, and only then copy."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from volovan.models.backbone import Backbone
from volovan.models.dense import DenseModel, Rows
from volovan.models.weights.dense import load_dense_weights
from volovan.models.weights.find import Weights, built_for, read_weights, stated_preprocessing
from volovan.models.weights.fit import HEADS, Fit, LoadReport, fit, recognise, report, take, trunk_shapes
from volovan.models.weights.keymaps import to_ours
from volovan.models.weights.networks import State
from volovan.models.weights.reading import WeightsError, of_another
from volovan.models.weights.rows import follow_names

STATISTICS = ("running_mean", "running_var")


def load_weights(
    model: nn.Module, source: str | Path, strict: bool = True, ema: bool = True, classes: Sequence[str] | None = None
) -> LoadReport:
    """Load published or own weights into a VOLO, VAN or LV-ViT, or into a network for dense tasks.

    source   a file, a run folder, a name of the table of published weights, or a hub name, always with its prefix:
             "hf:organisation/repository[/file]".
             The names in the file may be original, timm, mmpretrain, transformers or our own: they are recognised
             by themselves and by shapes, never by the name of the file
    strict   False allows missing and unexpected names of backbones; a wrong shape is refused all the same
    ema      take averaged weights where the file has them beside the others
    classes  names of the outputs of the model: those that the file knows by name keep its rows, the others their own
    returns  LoadReport; `model.preprocessing` is set where the source states it
    raises   WeightsError (a ValueError): not found, unreadable, refused, or it does not fit. Then nothing was loaded.
    """
    for name in ("module", "_orig_mod"):  # inside DistributedDataParallel or torch.compile
        model = getattr(model, name, model)
    if isinstance(model, DenseModel):
        if not strict:
            raise WeightsError("strict=False is for backbones; here a trunk alone, or other classes, load without it")
        return load_dense_weights(model, source, ema, classes)
    if not isinstance(model, Backbone):
        raise WeightsError(f"load_weights expects a network of volovan, found {type(model).__name__}")
    return load_into(model, read_weights(source, model.config.name), strict, ema, classes)


def load_into(
    model: Backbone, weights: Weights, strict: bool = True, ema: bool = True, classes: Sequence[str] | None = None
) -> LoadReport:
    """`load_weights` with weights that were read already."""
    state, layout, notes = to_ours(weights.raw, ema, model.state_dict())
    state, followed = follow_names(state, model.state_dict(), dict.fromkeys(HEADS, Rows()), weights.classes, classes)
    result = fit(model, state, built_for(weights))
    if not result.fits(strict):
        raise _misfit(model, weights, state, result)
    take(model, weights.path, result)
    model.preprocessing = stated_preprocessing(model.config, model.preprocessing, weights)
    return report(weights.path, layout, result, [*notes, *followed, *result.notes], alarm="head")


def _misfit(model: Backbone, weights: Weights, state: State, result: Fit) -> WeightsError:
    path, name = weights.path, model.config.name
    found = f"{path.name} does not fit {name}; nothing was loaded"
    held = recognise(state)
    if held and held != name and trunk_shapes(model.state_dict()) != trunk_shapes(state):
        return of_another(f"{path.name} holds {held}, not {name}; nothing was loaded", held, path)
    run = weights.about.get("config", {}).get("name")
    if run and run != name:
        return of_another(f"{found}. This file is a run of `{run}` with other settings", run, path, f"{path} itself")
    if result.missing and not result.unexpected and all(key.endswith(STATISTICS) for key in result.missing):
        found += ". It holds parameters without the statistics of BatchNorm: save the state_dict() of the network"
    remedies = {}
    if run:
        remedies = {
            "python": f'create_model("{run}", weights="{path}") takes its settings from the file',
            "fit": "leave out --model.options, and they come from the file",
        }
    elif not result.wrong_shape and result.tensors:
        remedies = {"python": "strict=False loads what there is"}
    return WeightsError(found, **remedies, details=result.misfits())
