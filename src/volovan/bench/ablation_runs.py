"""The runs of an ablation: one run folder of `volovan fit` per row and seed, each trained by a process of its own.

OUT/<slug of the row>/seed<k>       the run folder
OUT/<slug of the row>/seed<k>.txt   what its process printed

What lies in a run folder decides what happens: finished runs are taken as they are, begun ones resumed, and a run whose
recipe is not the row's is refused. So the same command goes on after any kill.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from volovan.bench.ablation import Ablation, Row, as_words
from volovan.engine.progress import clock
from volovan.engine.run import read_table
from volovan.engine.settings import SettingsError, total_epochs
from volovan.engine.signals import StopRequest
from volovan.files.locks import is_locked
from volovan.use.recipes import read_recipe

# A run may differ from its row in these: they change what is kept and said, not what is learned.
FREE = (
    "train.workers",
    "train.log_steps",
    "train.keep_last",
    "train.checkpoint_steps",
    "train.tensorboard",
    "train.on_bad",
)
_PAUSE = 0.2  # seconds between two looks at the processes
Process = subprocess.Popen[bytes]


@dataclass(frozen=True, eq=False)
class Job:
    """One row with one seed. words: what `volovan fit` gets behind its recipe; settings: what they amount to."""

    row: Row
    seed: int
    folder: Path
    words: tuple[str, ...]
    settings: Any

    @property
    def title(self) -> str:
        return f"{self.row.name}, seed {self.seed}"

    @property
    def printed(self) -> Path:
        return self.folder.with_suffix(".txt")


def plan(ablation: Ablation, rows: Sequence[Row], seeds: Sequence[int], out: Path, more: dict[str, str]) -> list[Job]:
    """Jobs, all rows of a seed before the next seed. `more`: keys for every row; what a row sets has its way.

    SettingsError: a key that the recipe does not know.
    """
    jobs: list[Job] = []
    read: dict[tuple[Path, tuple[str, ...]], Any] = {}  # by recipe and words: reading takes a tenth of a second
    for seed in seeds:
        for row in rows:
            changes: dict[str, Any] = {**row.shared, **more, **row.changes}
            if row.start is not None:
                changes["model.weights"] = str((out / ablation.row(row.start).slug / f"seed{seed}").absolute())
            words = as_words(changes)
            if (row.base, words) not in read:
                try:
                    read[row.base, words], _ = read_recipe(row.base, list(words))
                except SettingsError as error:
                    raise SettingsError(f"row {row.name!r}: {error}") from error
            settings = read[row.base, words]
            settings = replace(settings, train=replace(settings.train, seed=seed))
            jobs.append(Job(row, seed, out / row.slug / f"seed{seed}", words, settings))
    return jobs


def check_needs(ablation: Ablation, jobs: Sequence[Job]) -> None:
    """SettingsError for a key that the user must give and has not."""
    for job in jobs:
        for key, what in ablation.needs.items():
            if f"--{key}" not in job.words:
                row = f"ablation {ablation.name}, row {job.row.name!r}"
                raise SettingsError(f"{row}, needs {key}: {what}; give it with --set {key} VALUE")


def is_finished(job: Job) -> bool:
    """Whether the last epoch, or the last step of train.max_steps, has been validated."""
    table = read_table(job.folder / "metrics.csv")
    if not table:
        return False
    step, epoch = int(table[-1]["step"]), int(table[-1]["epoch"])
    schedule, max_steps = job.settings.schedule, job.settings.train.max_steps
    if max_steps is not None and step >= max_steps:
        return True
    return epoch >= total_epochs(schedule) if schedule.steps is None else step >= schedule.steps


def refuse_strangers(jobs: Sequence[Job]) -> None:
    """SettingsError if a run folder holds another recipe than its row asks for, with every difference."""
    for job in jobs:
        if found := differences(job):
            raise SettingsError(
                f"{job.folder} holds another run than row {job.row.name!r} asks for: {'; '.join(found)}. Move it away, "
                "put the file or --set back, or choose another --out"
            )


def differences(job: Job) -> list[str]:
    """`key is X there, Y here` for each setting in which a run differs from its row; none without a run."""
    recipe = job.folder / "recipe.yaml"
    if not recipe.is_file():
        return []
    there, here = flat(asdict(read_recipe(recipe, [])[0])), flat(asdict(job.settings))
    keys = [key for key in {**here, **there} if key not in FREE and there.get(key) != here.get(key)]
    return [f"{key} is {there.get(key)} there, {here.get(key)} here" for key in keys]


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, with lists for tuples, as files give them."""
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            values |= flat(value, f"{before}{key}.")
        else:
            values[before + key] = list(value) if isinstance(value, tuple) else value
    return values


def train_all(jobs: Sequence[Job], at_once: int, processes: int, say: Callable[[str], None]) -> dict[str, str]:
    """Train what is not finished, `at_once` runs at a time; returns title -> reason of those that failed.

    SystemExit after Ctrl-C or SIGTERM, when every process has written its checkpoint and ended; a second Ctrl-C ends
    them at once.
    """
    waiting = [job for job in jobs if not is_finished(job)]
    say(f"{len(jobs)} runs: {len(jobs) - len(waiting)} finished, {len(waiting)} to train")
    for job in waiting:
        if is_locked(job.folder):  # as the processes of a killed ablation do
            say(f"{job.title}: another process trains it; waiting for its end")
    running: dict[Job, tuple[Process, float]] = {}
    failed: dict[str, str] = {}
    with StopRequest() as stop:
        try:
            while (waiting or running) and not stop.asked:
                for job in [job for job in waiting if _is_ready(job, [*waiting, *running])][: at_once - len(running)]:
                    waiting.remove(job)
                    _begin(job, processes, running, failed, say)
                time.sleep(_PAUSE if running or waiting else 0)
                for job in [job for job, (process, _) in running.items() if process.poll() is not None]:
                    process, begin = running.pop(job)
                    if process.returncode == 0 and is_finished(job):
                        say(f"{job.title}: finished in {clock(time.perf_counter() - begin)}")
                    else:
                        printed = job.printed.read_text(errors="replace").splitlines()
                        last = next((line.strip() for line in reversed(printed) if line.strip()), "no word")
                        failed[job.title] = f"exit status {process.returncode}: {last}"
                        say(f"{job.title}: failed: {failed[job.title]}")
        finally:
            _stop([process for process, _ in running.values()])
    if stop.asked:
        say(f"stopped by {stop.name}; the same command goes on")
        raise SystemExit(stop.status)
    return failed


def _is_ready(job: Job, unfinished: Sequence[Job]) -> bool:
    """Whether the run that it starts from has ended, and no other process trains in its folder."""
    starts_from = [other for other in unfinished if other.row.name == job.row.start and other.seed == job.seed]
    return not starts_from and not is_locked(job.folder)


def _begin(
    job: Job,
    processes: int,
    running: dict[Job, tuple[Process, float]],
    failed: dict[str, str],
    say: Callable[[str], None],
) -> None:
    """Start the process of a job, unless there is nothing left to do, or nothing to start from."""
    parent = f"{job.row.start}, seed {job.seed}"
    if parent in failed:
        failed[job.title] = f"it starts from {parent}, which failed"
        say(f"{job.title}: failed: {failed[job.title]}")
        return
    if is_finished(job):  # by the process that held the lock
        say(f"{job.title}: finished by another process")
        return
    begun = (job.folder / "recipe.yaml").is_file()
    rest = ["--resume", str(job.folder)] if begun else [str(job.row.base), "--out", str(job.folder), *job.words]
    if not begun:
        rest += ["--train.seed", str(job.seed)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    job.printed.parent.mkdir(parents=True, exist_ok=True)
    with job.printed.open("ab") as printed:
        # A session of its own: Ctrl-C reaches this process only, which asks the runs to stop, once.
        process = subprocess.Popen(
            [sys.executable, *launcher, "-m", "volovan", "fit", *rest],
            stdout=printed,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    say(f"{job.title}: {'resumed' if begun else 'started'}; see {job.printed}")
    running[job] = (process, time.perf_counter())


def _stop(processes: Sequence[Process]) -> None:
    """Ask the processes to end, and wait until they have; if that is interrupted too, end them."""
    for process in processes:
        process.terminate()
    try:
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        raise
