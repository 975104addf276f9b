"""The processes of a run, as torchrun or SLURM describe them to each one. Without torch."""

import re
import sys
from collections.abc import Mapping

FIRST_PORT, PORTS = 10_000, 20_000
"""below those that systems give to connections by themselves"""


def described(environ: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torch reads them; empty for a process alone.

    torchrun sets all of them, and wins. In a step of `srun` with several tasks, the rest follows from SLURM's own
    variables. A script of sbatch and an interactive shell have these too, but are no step, or one of a single task.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    said = {name: environ[name] for name in names if name in environ}
    if "RANK" in said or not _is_step(environ):
        return said if "RANK" in said else {}
    tasks = environ.get("SLURM_STEP_NUM_TASKS") or environ["SLURM_NTASKS"]
    if int(tasks) == 1:
        return {}
    nodes = next(
        environ[name] for name in ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST") if name in environ
    )
    first = first_node(nodes)
    step = int(environ.get("SLURM_STEP_ID") or environ.get("SLURM_STEPID") or 0)
    port = FIRST_PORT + (int(environ.get("SLURM_JOB_ID") or environ.get("SLURM_JOBID") or 0) + 997 * step) % PORTS
    ours = {"RANK": environ["SLURM_PROCID"], "WORLD_SIZE": tasks, "LOCAL_RANK": environ["SLURM_LOCALID"]}
    ours |= {"MASTER_ADDR": "127.0.0.1" if first == nodes else first, "MASTER_PORT": str(port)}
    return ours | said


def first_node(nodes: str) -> str:
    """The first name of SLURM's list: "gpu[007-009,12],login" -> "gpu007"."""
    match = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", match[0]) if match else nodes


def leads(environ: Mapping[str, str]) -> bool:
    """Whether this process is the only one, or the first."""
    return described(environ).get("RANK", "0") == "0"


def _is_step(environ: Mapping[str, str]) -> bool:
    """Whether srun has started this process as one of its tasks, and not the shell in which it was typed."""
    if "SLURM_PROCID" not in environ or not {"SLURM_STEP_ID", "SLURM_STEPID"} & environ.keys():
        return False
    return "SLURM_PTY_PORT" not in environ and not (sys.stdin and sys.stdin.isatty())
