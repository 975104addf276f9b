"""One pass through validation data; used by the loop and by `volovan validate`."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from volovan.data.loader import Batch, SampleReader, evaluation_loader
from volovan.data.pictures.tensors import Pixels
from volovan.engine.distributed import Place, anywhere, gather, sum_over_processes
from volovan.engine.progress import bar
from volovan.engine.settings import SettingsError, TrainSettings
from volovan.engine.signals import StopRequest
from volovan.engine.task import Metric

MetricT = TypeVar("MetricT", bound=Metric)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision, or nothing for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


def to_device(data: Any, device: torch.device, channels_last: bool = False) -> Any:
    """Move nested tuples, lists and dicts of tensors; images (four axes) may change their memory format. Pictures that
    come as bytes are normalised there."""
    if isinstance(data, Pixels):
        return data.normalised(device, channels_last)
    if isinstance(data, Tensor):
        layout = torch.channels_last if channels_last and data.ndim == 4 else torch.preserve_format
        return data.to(device, non_blocking=True, memory_format=layout)
    if isinstance(data, dict):
        return {key: to_device(value, device, channels_last) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(to_device(value, device, channels_last) for value in data)
    return data


class BadSamples:
    """Counts what could not be read; stops at the first if the user did not ask to skip.

    option: how the command that reads is asked to skip.
    """

    def __init__(self, skip: bool, say: Callable[[str], None], option: str = "--train.on_bad skip") -> None:
        self.skip = skip
        self.say = say
        self.option = option
        self.names: dict[str, str] = {}
        self.finders: set[str] = set()

    def check(self, batch: Batch) -> None:
        if batch.failed:
            raise batch.failed
        for error in batch.bad:
            if not self.skip:
                raise SettingsError(
                    f"{error}. Remove or mend the file ({error.finder} finds all of them), or set {self.option} to "
                    "go on without it"
                )
            self.finders.add(error.finder)
            if error.name not in self.names:
                self.names[error.name] = error.reason
                self.say(f"skipped: {error}")


@torch.no_grad()
def evaluate(
    model: nn.Module,
    reader: SampleReader,
    metric: MetricT,
    settings: TrainSettings,
    place: Place,
    bad: BadSamples,
    *,
    batch_size: int = 64,
    limit: int | None = None,
    label: str = "validation",
    stop: StopRequest | None = None,
) -> MetricT:
    """Update `metric` with every sample once (over all processes), the model in eval mode for the time.

    When a signal asks any process to stop, all leave early with `stop.everywhere` set; the metric is not whole then.
    """
    loader = evaluation_loader(
        reader,
        batch_size=batch_size,
        rank=place.rank,
        world=place.world,
        workers=settings.workers,
        limit=limit,
        pin_memory=place.device.type == "cuda",
    )
    common = -(-min(limit or len(reader), len(reader)) // batch_size) // place.world
    was_training = model.training
    model.eval()
    shown = bar(loader, len(loader), label, "batch", place.leads)
    with closing(shown), autocast(settings.precision, place.device):
        for number, batch in enumerate(shown):
            bad.check(batch)
            # The last batch may not come to every process, and all of them must ask.
            if stop and number < common and anywhere(stop.asked, place):
                stop.everywhere = True
                break
            if batch.size:
                metric.update(model, to_device(batch.data, place.device, settings.channels_last))
    model.train(was_training)
    for total in metric.totals.values():
        sum_over_processes(total, place)
    rows = {number: row for part in gather(metric.rows, place) for number, row in part.items()}
    metric.rows = dict(sorted(rows.items()))
    return metric
