"""The training loop: build, restore, then for each epoch: steps, checkpoint, validation, checkpoint.

The state of a run is (weights, EMA, optimiser, scaler, step, best metric, loss sums of the epoch). Everything random is
keyed by where it is used (volovan.data.randomness), so this state is all that an exact resume needs. An epoch whose
loss sum is not cleared yet is still open: it may lack nothing but its validation.
"""

import math
import shlex
from contextlib import closing
from dataclasses import asdict
from itertools import islice

import torch
from torch import Tensor, nn

from volovan.data.loader import Batch, SampleReader, TrainLoader
from volovan.data.randomness import seed_everything
from volovan.engine.checkpoint import CheckpointFolder, State, name_parts
from volovan.engine.distributed import Place, average_statistics, gather, parallelize, sum_over_processes, wait_for_all
from volovan.engine.evaluate import BadSamples, autocast, evaluate, to_device
from volovan.engine.memory import explain_one_value, explain_out_of_memory
from volovan.engine.optim import EMA, build_optimizer, freeze, keep_frozen_statistics
from volovan.engine.progress import Pace, bar, clock
from volovan.engine.resume import fingerprint, load_optimizer, refuse_changes
from volovan.engine.run import Run
from volovan.engine.schedule import check_schedule, learning_rate
from volovan.engine.settings import (
    EngineSettings,
    SettingsError,
    check_settings,
    micro_batch_size,
    total_epochs,
    total_steps,
)
from volovan.engine.signals import StopRequest
from volovan.engine.task import Metric, Task, class_proportions, parts_of


class NonFiniteError(RuntimeError):
    """The loss or the gradient became nan or infinite; no weight was changed by that step."""


class Trainer:
    """One run of one task in one process."""

    def __init__(self, task: Task, settings: EngineSettings, run: Run, place: Place) -> None:
        self.task, self.settings, self.run, self.place = task, settings, run, place
        train = settings.train
        check_settings(settings)
        check_schedule(settings.schedule)
        micro = micro_batch_size(train, place.world)
        if train.threads is not None:
            torch.set_num_threads(train.threads)
        seed_everything(train.seed)  # a task may make its model together with its data
        self.data = task.build_data()
        if self.data.train is None or len(self.data.train) == 0:
            raise SettingsError("there are no training data; name them with data.source")
        self.fingerprint = fingerprint(self.data.train, self.data.groups)
        layout = torch.channels_last if train.channels_last else torch.preserve_format
        self.model: nn.Module = task.build_model().to(place.device, memory_format=layout)  # type: ignore[call-overload]
        freeze(self.model, train.freeze)
        if train.grad_checkpointing:
            self.model.set_grad_checkpointing(True)
        average = train.ema_buffers == "average"
        self.ema = EMA(self.model, train.ema, train.ema_warmup, average) if train.ema else None
        self.optimizer = build_optimizer(self.model, settings.optim)
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=train.precision == "fp16")
        self.wrapped = parallelize(self.model, train, place)
        self.loader = TrainLoader(
            self.data.train,
            micro=micro,
            accumulate=train.accumulate,
            rank=place.rank,
            world=place.world,
            seed=train.seed,
            repeats=train.repeated_augmentation,
            proportions=class_proportions(self.data.train, train.sampling),
            groups=self.data.groups,
            sizes=self.data.sizes,
            workers=train.workers,
            pin_memory=place.device.type == "cuda",
        )
        self.checkpoints = CheckpointFolder(run.checkpoints, train.keep_last)
        self.bad = BadSamples(train.on_bad == "skip", run.say)
        self.state = State()
        run.tensorboard = train.tensorboard
        self.last_step = total_steps(settings.schedule, self.loader.steps)
        if train.max_steps is not None:
            self.last_step = min(self.last_step, train.max_steps)
        self.pace = Pace(self.last_step, 0, train.batch_size)
        self.metrics: dict[str, float] = {}
        self.shown: Metric | None = None
        """of the best checkpoint, if it was made since this process began; drawn when it ends"""

    # ---- the run ----------------------------------------------------------------------------------------------------

    def fit(self, resume: bool = False) -> dict[str, float]:
        """Train to the end; returns the metrics of the last validation. SystemExit after a signal."""
        state = self.state
        explained = explain_out_of_memory(self.settings.train, self.place, self.task.smaller)
        try:
            with closing(self.loader), StopRequest() as stop, explained:
                if resume:
                    state = self.restore()
                self.announce()
                if state.step >= self.last_step and not state.loss_steps:
                    self.run.say(f"the run is finished: {state.step} of {self.last_step} steps are done")
                while state.step < self.last_step or state.loss_steps:
                    epoch = (state.step - bool(state.loss_steps)) // self.loader.steps
                    self.train_epoch(epoch, stop)
                    self.finish_epoch(epoch, stop)
        finally:  # here and not at each best validation: drawing takes a library of 30 MiB, and time
            if self.shown is not None and self.place.leads:
                self.task.draw(self.shown, self.run.pictures)
        self.conclude()
        return self.metrics

    def train_epoch(self, epoch: int, stop: StopRequest) -> None:
        """The steps of an epoch from where the state stands, and a checkpoint, so that no validation can lose them."""
        begin = epoch * self.loader.steps
        end = min(begin + self.loader.steps, self.last_step)
        left = end - self.state.step
        if left <= 0:  # stopped between the last step and the validation
            return
        self.model.train()
        keep_frozen_statistics(self.model)
        steps = islice(self.loader.epoch(epoch, self.state.step - begin), left)
        every = self.settings.train.checkpoint_steps
        with closing(bar(steps, left, f"epoch {epoch + 1}", "step", self.place.leads)) as shown:
            for batches in shown:
                self.train_step(batches, stop)
                if stop.everywhere:
                    self.leave(stop)
                if every and self.state.step % every == 0 and self.state.step < end:
                    self.save()
        self.save()

    def train_step(self, batches: list[Batch], stop: StopRequest) -> None:
        """Gradients of all micro-batches, the check that they are finite, one step of the optimiser."""
        step, optim = self.state.step, self.settings.optim
        rate = learning_rate(self.settings.schedule, optim.lr, step, self.loader.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        seed_everything(self.settings.train.seed, step, self.place.rank, 1)
        loss, parts = self.accumulate(batches)
        self.scaler.unscale_(self.optimizer)
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.get_total_norm(p.grad for p in trained if p.grad is not None)
        if optim.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(trained, optim.clip_norm, norm)
        loss_value, norm_value = self.agree(loss, norm, stop)
        part_values = self.average(parts)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.model, step)
        self.state.step += 1
        self.state.add(loss_value, part_values)
        self.log_step(rate, loss_value, part_values, norm_value)

    def accumulate(self, batches: list[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
        """Backward through the mean loss over the samples of all micro-batches of this process; returns it and its
        parts."""
        train = self.settings.train
        size = sum(batch.size for batch in batches)
        for batch in batches:
            self.bad.check(batch)
        if not all(batch.size for batch in batches):
            raise SettingsError(
                f"step {self.state.step}: no sample of a batch of {len(batches[0].bad)} could be read, "
                f"the first is {next(iter(self.bad.names))}; run {' and '.join(sorted(self.bad.finders))}"
            )
        total = torch.zeros((), device=self.place.device)
        part_totals: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            if self.place.world > 1 and hasattr(self.wrapped, "require_backward_grad_sync"):
                self.wrapped.require_backward_grad_sync = number == len(batches) - 1  # type: ignore[assignment]
            data = to_device(batch.data, self.place.device, train.channels_last)
            with autocast(train.precision, self.place.device), explain_one_value(train, self.place, self.task.smaller):
                loss, parts = parts_of(self.task.loss(self.wrapped, data))
                loss = loss * (batch.size / size)
            self.scaler.scale(loss).backward()
            total += loss.detach()
            for name, part in parts.items():
                part_totals[name] = part_totals.get(name, 0.0) + part.detach() * (batch.size / size)
        return total, part_totals

    def agree(self, loss: Tensor, norm: Tensor, stop: StopRequest) -> tuple[float, float]:
        """Mean loss over the processes; all of them stop together if one is not finite or was asked to stop."""
        # fp16 skips a step that overflows and halves its scale; below 1 it is not the scale that overflows.
        may_overflow = self.scaler.is_enabled() and self.scaler.get_scale() >= 1
        finite = torch.isfinite(loss) & (torch.isfinite(norm) | may_overflow)
        flags = torch.stack([loss.float(), norm.float(), 1 - finite.float(), finite.new_tensor(stop.asked).float()])
        flags = torch.where(torch.isfinite(flags), flags, torch.zeros_like(flags))
        loss_sum, norm_sum, broken, asked = sum_over_processes(flags, self.place).tolist()
        if broken:
            steps = self.checkpoints.steps()
            last = f"step {steps[-1]}" if steps else "none"
            rank = f" (rank {self.place.rank})" if self.place.world > 1 else ""
            raise NonFiniteError(
                f"step {self.state.step}: loss is {loss.item():g}, gradient norm {norm.item():g}{rank}; weights "
                f"unchanged. Last checkpoint: {last}. Lower optim.lr, set optim.clip_norm, use bf16, not fp16, or "
                f"lengthen the warm-up (docs/faq.md): in a new run, or in {self.run.folder / 'recipe.yaml'} and then "
                "--resume"
            )
        stop.everywhere = bool(asked)
        return loss_sum / self.place.world, norm_sum / self.place.world

    def average(self, parts: dict[str, Tensor]) -> dict[str, float]:
        """Mean parts of the loss over the processes; apart from `agree`, whose sums would round otherwise with them."""
        if not parts:
            return {}
        sums = sum_over_processes(torch.stack([part.float() for part in parts.values()]), self.place).tolist()
        return {name: value / self.place.world for name, value in zip(parts, sums, strict=True)}

    # ---- what an epoch ends with ------------------------------------------------------------------------------------

    def finish_epoch(self, epoch: int, stop: StopRequest) -> None:
        """Validate if it is due, record, close the epoch with a checkpoint."""
        state = self.state
        row = state.mean_losses()
        last = state.step >= self.last_step
        due = last or (epoch + 1) % self.settings.train.validate_every == 0
        is_best = False
        if due and self.data.val is not None:
            metric = self.validate(self.data.val, epoch, stop)
            row |= self.metrics
            is_best = self.improve()
            if is_best or (last and state.best is None):
                self.shown = metric
        state.loss_sum, state.loss_steps, state.part_sums = 0.0, 0, {}
        rate = learning_rate(self.settings.schedule, self.settings.optim.lr, state.step - 1, self.loader.steps)
        record: dict[str, float | int | str] = {
            "epoch": epoch + 1,
            "step": state.step,
            "lr": rate,
            **row,
            "seconds": round(self.pace.seconds(), 1),
        }
        self.run.record("metrics", record)
        self.run.board(row, state.step)
        more = {*self.metrics} - {*self.task.headline} if self.task.headline else set()
        shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in more)
        self.run.say(
            f"epoch {epoch + 1}/{total_epochs(self.settings.schedule, self.loader.steps)}  {shown}  "
            f"lr {rate:.3g}  {self.pace.rate(state.step):.0f} images/s  {self.pace.left(state.step)} left"
            f"{'  (best)' if is_best else ''}"
        )
        self.save(is_best)

    def validate(self, reader: SampleReader, epoch: int, stop: StopRequest) -> Metric:
        metric = evaluate(
            self.ema.model if self.ema else self.model,
            reader,
            self.task.new_metric(self.place.device),
            self.settings.train,
            self.place,
            self.bad,
            batch_size=min(micro_batch_size(self.settings.train, self.place.world), 256),
            label=f"epoch {epoch + 1} validation",
            stop=stop,
        )
        if stop.everywhere:
            self.leave(stop)
        self.metrics = metric.finish()
        return metric

    def improve(self) -> bool:
        """Whether the goal's metric is the best so far; remembers it if so."""
        value, best = self.metrics[self.task.goal.removeprefix("-")], self.state.best
        if math.isnan(value):
            return False
        if best is not None and (value >= best if self.task.goal.startswith("-") else value <= best):
            return False
        self.state.best, self.state.best_step = value, self.state.step
        return True

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def save(self, is_best: bool = False) -> None:
        average_statistics(self.model, self.place)
        if self.ema:
            self.ema.share_statistics(self.model, self.place)
        self.state.seconds = self.pace.seconds()
        if self.place.leads:
            tree = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "state": asdict(self.state),
                "settings": asdict(self.settings),
                "data": self.fingerprint,
                "task": self.task.describe(),
            }
            if self.ema:
                tree["ema"] = self.ema.model.state_dict()
            self.checkpoints.save(self.state.step, tree, is_best)
        wait_for_all(self.place)

    def restore(self) -> State:
        """Take up the newest whole checkpoint of the run folder; without one the run starts anew."""
        if self.place.leads:
            self.checkpoints.sweep()
        if not self.checkpoints.steps() and not self.checkpoints.best.is_file():
            self.run.say("no checkpoint yet: the run starts from its beginning")
            self.run.forget_after(metrics=0, steps=0)
            return self.state
        tree = self.checkpoints.load_newest(self.run.say)
        refuse_changes(tree, self.settings, self.fingerprint)
        try:
            self.model.load_state_dict(tree["model"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise SettingsError(
                f"the model of recipe.yaml is not the one of the checkpoint; put it back: {reason}"
            ) from error
        if self.ema:
            self.ema.model.load_state_dict(tree["ema"])
        load_optimizer(self.optimizer, tree["optimizer"])
        if tree["scaler"]:
            self.scaler.load_state_dict(tree["scaler"])
        self.state = state = State(**tree["state"])
        if self.place.leads and state.best_step == state.step and self.checkpoints.path(state.step).is_file():
            self.checkpoints.keep_best(tree)  # a kill may have come between the two
        self.run.forget_after(metrics=state.step - bool(state.loss_steps), steps=state.step)
        self.pace = Pace(self.last_step, state.step, self.settings.train.batch_size, state.seconds)
        return state

    # ---- words ------------------------------------------------------------------------------------------------------

    def announce(self) -> None:
        count = sum(p.numel() for p in self.model.parameters())
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        val = f", {len(self.data.val)} to validate" if self.data.val is not None else ""
        train, samples = self.settings.train, self.loader.order.length
        for note in self.data.notes:
            self.run.say(f"note: {note}")
        self.run.say(
            f"{samples} samples{val}; {count / 1e6:.2f} M parameters"
            f"{f', {trained / 1e6:.2f} M trained' if trained < count else ''}; {self.place.device}"
            f"{f' x {self.place.world}' if self.place.world > 1 else ''}, {train.precision}; "
            f"batch {train.batch_size}, {self.loader.steps} steps an epoch, from step {self.state.step} to "
            f"{self.last_step}"
        )
        if train.batch_size > samples:
            self.run.say(
                f"note: a batch of {train.batch_size} is larger than the data; each sample is drawn several times in it"
            )
        if self.loader.order.groups and (never := self.loader.order.groups.never):
            self.run.say(f"note: {never} samples are never drawn: their groups are smaller than a batch")

    def log_step(self, rate: float, loss: float, parts: dict[str, float], norm: float) -> None:
        step = self.state.step
        if step % self.settings.train.log_steps and step != 1:
            return
        losses = {"loss": loss, **name_parts(parts)}
        speed = round(self.pace.rate(step))
        self.run.record("steps", {"step": step, "lr": rate, **losses, "grad_norm": norm, "images_per_s": speed})
        shown = {**losses, "lr": rate, "grad_norm": norm}
        self.run.board({f"step/{name}": value for name, value in shown.items()}, step)

    def leave(self, stop: StopRequest) -> None:
        """After a signal: a checkpoint, the way to go on, and the exit status that the signal calls for."""
        self.save(is_best=False)
        self.run.say(
            f"stopped by {stop.name} after step {self.state.step} of {self.last_step}; a checkpoint is written. "
            f"Go on with: volovan fit --resume {self.run.folder}"
        )
        self.run.close()
        raise SystemExit(stop.status)

    def conclude(self) -> None:
        state = self.state
        skipped = {name for names in gather(set(self.bad.names), self.place) for name in names}
        if skipped:
            finders = " and ".join(sorted(self.bad.finders)) or "volovan check-data"
            self.run.say(f"{len(skipped)} unreadable sample(s) were skipped; {finders} lists them")
        if state.best is not None:
            name = self.task.goal.removeprefix("-")
            self.run.say(f"best {name} {state.best:.4g} at step {state.best_step}: {self.checkpoints.best}")
            if self.metrics and self.shown is None:  # a kill leaves no figures to draw
                self.run.say(
                    f"that was before this start: if its pictures are not in {self.run.pictures}, volovan validate "
                    "draws them"
                )
        folder = shlex.quote(str(self.run.folder))
        self.run.say(f"{clock(state.seconds)}. Next: volovan validate {folder}  or  volovan predict {folder} PICTURES")
        self.run.close()
