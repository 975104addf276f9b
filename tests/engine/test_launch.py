"""Processes that SLURM starts find each other by its own variables, and train as those of torchrun do."""

import os
import socket
from contextlib import redirect_stderr, redirect_stdout

import pytest

from volovan.engine.launch import described, first_node, leads

STEP = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[007-008]",
    "SLURM_NODELIST": "gpu[007-008]",
}
FIT = ["fit", "digits_van", "--train.max_steps", "3", "--data.limit", "64", "--train.batch_size", "16"]
FIT += ["--train.workers", "0", "--train.tensorboard", "false", "--train.device", "cpu", "--train.log_steps", "1"]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("gpu[007-009,12],login", "gpu007"),
        ("gpu[3,7-9]", "gpu3"),
        ("rack[1-2]n[04-09]", "rack1n04"),
        ("a-1,b[2-3]", "a-1"),
        ("tux[1-3]-ib", "tux1-ib"),
        ("node1.cluster.example", "node1.cluster.example"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    assert first_node(nodes) == first


def test_a_step_on_several_nodes():
    assert described(STEP) == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu007",
        "MASTER_PORT": "14711",
    }
    assert not leads(STEP)
    assert leads(STEP | {"SLURM_PROCID": "0"})


def test_a_step_on_one_node_and_steps_side_by_side():
    one = described(STEP | {"SLURM_STEP_NODELIST": "gpu007"})
    other = described(STEP | {"SLURM_STEP_NODELIST": "gpu007", "SLURM_STEP_ID": "1"})
    assert one["MASTER_ADDR"] == "127.0.0.1"
    assert one["MASTER_PORT"] != other["MASTER_PORT"]
    large = described(STEP | {"SLURM_JOB_ID": "987654321"})
    assert 10_000 <= int(large["MASTER_PORT"]) < 30_000


def test_what_a_user_or_torchrun_says_wins():
    own = described(STEP | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "4"})
    assert (own["MASTER_ADDR"], own["MASTER_PORT"], own["RANK"]) == ("10.0.0.1", "29500", "3")
    torchrun = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    assert described(STEP | torchrun) == torchrun


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_NODELIST": "gpu1"},  # a shell of salloc
        {name: value for name, value in STEP.items() if "STEP" not in name},  # the script of sbatch
        STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"},  # sbatch or srun with one task
        STEP | {"SLURM_PTY_PORT": "40001"},  # srun --pty bash
        {"WORLD_SIZE": "4", "MASTER_ADDR": "somewhere"},  # of another tool's script
    ],
    ids=["nothing", "salloc", "sbatch", "one task", "pty", "no rank"],
)
def test_a_process_alone_stays_alone(environ):
    assert described(environ) == {}
    assert leads(environ)


def test_two_tasks_of_slurm_train_as_two_of_torchrun(tmp_path, tmp_path_factory, child, assert_same_run):
    texts = tmp_path_factory.mktemp("said")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def fit(name, environ):
        for key in [key for key in os.environ if key.startswith("SLURM_")]:
            del os.environ[key]
        os.environ |= environ
        from volovan.cli import main

        with (texts / f"{name}.txt").open("w") as out, redirect_stdout(out), redirect_stderr(out):
            status = main([*FIT, "--out", str(tmp_path / name.split("-")[0])])
        os._exit(status)

    def run(name, environs):
        processes = [child(fit, f"{name}-{rank}", environ) for rank, environ in enumerate(environs)]
        for process in processes:
            process.join(240)
        said = [(texts / f"{name}-{rank}.txt").read_text() for rank in range(2)]
        assert [process.exitcode for process in processes] == [0, 0], said
        return said

    slurm = STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "here", "MASTER_PORT": port}
    said = run("slurm", [slurm | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"])
    assert "cpu x 2" in said[0]
    assert not said[1], "the second process has nothing to say"
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    run("torchrun", [common | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"])
    assert_same_run(tmp_path / "slurm", tmp_path / "torchrun")
