"""create_model and create_dense: from names and settings to a network, with published or own weights if asked."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypedDict

from volovan.files.nearest import nearest_or_all
from volovan.models.config import ConfigError
from volovan.models.dense import DenseConfig, DenseT, without_classifier
from volovan.models.variants import Config, Model, build, find_config, shapes
from volovan.models.weights.dense import load_dense_weights
from volovan.models.weights.find import Weights, config_of, read_weights
from volovan.models.weights.load import load_into


def create_model(
    name: str,
    pretrained: bool = False,
    weights: str | Path | Weights | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
    classes: Sequence[str] | None = None,
    **overrides: Any,
) -> Model:
    """Build a network, with published or own weights if asked.

    name            a variant of `list_models()`, or a family ("volo", "van", "lvvit") with settings of one's own
    pretrained      load the published default weights of the variant
    weights         load these: a file, a run folder, or a name in the table of published weights
    num_classes     width of the head, by default that of the weights, or 1000; 0 for features
    in_chans        channels of the input, 3 by default
    img_size        pixels, one number or (height, width); by default that of the weights, or 224
    drop_path_rate  stochastic depth of the last block
    classes         names of the outputs, in place of num_classes: each that the run of the weights knows keeps its row
                    of the head, the others get new ones
    overrides       any other field of VOLOConfig, VANConfig or LVViTConfig
    returns         the network, in training mode as torch modules are; `create_model(**asdict(model.config))`
                    builds it again
    raises          ValueError: unknown name or field, a config that cannot work, weights that do not fit
    """
    base = find_config(name)
    given = {"num_classes": outputs_of(num_classes, classes), "in_chans": in_chans, "img_size": img_size}
    asked = base.renamed({key: value for key, value in given.items() if value is not None} | overrides)
    _refuse_unknown(base, asked)
    if not pretrained and weights is None:
        return build(replace(base, **asked, drop_path_rate=drop_path_rate))
    found = read_weights(weights, name)
    own = base.renamed(config_of(found, name, lambda: shapes(replace(base, **asked))))
    _refuse_unknown(base, own)
    model = build(replace(base, **{**own, **asked, "drop_path_rate": drop_path_rate}))
    load_into(model, found, classes=classes)
    return model


def outputs_of(num_classes: int | None, classes: Sequence[str] | None) -> int | None:
    """How many outputs are asked for; ConfigError where the two do not agree."""
    if classes is None:
        return num_classes
    if num_classes not in (None, len(classes)):
        raise ConfigError(f"num_classes is {num_classes}, but {len(classes)} classes are named; leave out num_classes")
    return len(classes)


def _refuse_unknown(base: Config, settings: Iterable[str]) -> None:
    known = [field.name for field in fields(base)]
    for field in settings:
        if field not in known:
            raise ConfigError(f"{base.name}: no setting {field!r}; {nearest_or_all(field, known)}")


class DenseOptions(TypedDict, total=False):
    """Keywords that every constructor of a dense network takes: `create_segmenter`, `create_saliency_model`."""

    pretrained: bool
    """the trunk gets its published ImageNet weights"""
    weights: str | Path | None
    """a run folder, a file or a name; of a whole network (a run of ours, mmsegmentation) or of a trunk alone, which
    its keys tell; a head that does not fit the classes is new, and that is said"""
    in_chans: int | None
    """channels of the input, 3 by default"""
    img_size: int | tuple[int, int] | None
    """what the position embedding of VOLO and LV-ViT is built for; every size runs"""
    drop_path_rate: float
    """stochastic depth of the trunk's last block"""
    trunk_options: dict[str, Any] | None
    """any other field of the trunk's config"""
    head_options: dict[str, Any] | None
    """keywords of the head"""
    classes: Sequence[str] | None
    """names of the outputs, in place of num_classes: each that the run of the weights knows keeps its row of the
    classifiers, the others get new ones"""
    pyramid: str
    """"detail" or "resample": how VOLO and LV-ViT make maps of all strides; VAN has them"""


def create_dense(
    kind: type[DenseT],
    trunk: str,
    head: str,
    num_classes: int | None,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
    trunk_options: dict[str, Any] | None = None,
    head_options: dict[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    pyramid: str = "detail",
) -> DenseT:
    """A trunk, a pyramid and a head of one kind of dense network: the body of `create_segmenter` and its like.

    kind         subclass of DenseModel, whose table HEADS knows the head
    trunk        a variant of `list_models()`, or a family with `trunk_options` of one's own
    head         a name in the table
    num_classes  of the head; None: as many as `classes` has
    others       see `DenseOptions`
    returns      the network, in training mode as torch modules are
    raises       ValueError: unknown name or setting, weights that do not fit
    """
    options = trunk_options or {}
    if "num_classes" in options:
        raise ConfigError(f"{trunk}: num_classes is that of the head; leave it out of the trunk's options")
    body = create_model(
        trunk,
        pretrained=pretrained and weights is None,
        num_classes=0,
        in_chans=in_chans,
        img_size=img_size,
        drop_path_rate=drop_path_rate,
        **options,
    )
    outputs = outputs_of(num_classes, classes)
    if outputs is None:
        raise ConfigError("neither num_classes nor classes are given; name one of them")
    config = DenseConfig(asdict(body.config), head, outputs, pyramid, dict(head_options or {}))
    model = kind(without_classifier(body), config)
    if weights is not None:
        load_dense_weights(model, weights, classes=classes)
    return model
