"""Several processes that others start: torchrun, and the SLURM script with stand-ins for SLURM's commands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
BASE = REPOSITORY / "experiments" / "_base"
SRUN = """#!/usr/bin/env bash
tasks=()
for node in 0 1; do
  SLURM_PROCID=$node SLURM_NODEID=$node SLURM_LOCALID=0 "$@" &
  tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit 1; done
"""


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """A job of two nodes with one task each, both on this machine; commands may be put into `tmp_path/bin`."""
    (tmp_path / "bin").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"JOB_ID": "4242", "JOB_NAME": "clicklab", "NODELIST": "localhost", "NNODES": "2", "NTASKS": "2"}
    job |= {"NTASKS_PER_NODE": "1", "CPUS_PER_TASK": "1"}
    return {
        **{name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"},  # one of this process's tests
        **{f"SLURM_{name}": value for name, value in job.items()},
        "PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)]),
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


def command(folder: Path, name: str, text: str) -> Path:
    """An executable script."""
    path = folder / "bin" / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_torchrun_starts_a_run_and_slurm_goes_on_with_it(tmp_path, environment):
    run = tmp_path / "run"
    options = [f"--trainer.default_root_dir={run}", "--ckpt_path=last", "--data.init_args.num_workers=0"]
    names = ["_base/trainer", "simpleclick/config", "_base/ddp", "simpleclick/smoke"]
    configs = [part for name in names for part in ("--config", f"experiments/{name}.yaml")]
    outside = {name: value for name, value in environment.items() if not name.startswith(("SLURM_", "MASTER_"))}
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "clicklab.commands.main",
    ]
    start += ["fit", *configs, "--trainer.devices=2", *options]
    done = subprocess.run(start, cwd=REPOSITORY, env=outside, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2

    command(tmp_path, "srun", SRUN)
    clicklab = command(tmp_path, "clicklab", f'#!/bin/sh\nexec {sys.executable} -m clicklab.commands.main "$@"\n')
    environment |= {"CLICKLAB": str(clicklab), "ARGS": " ".join([*options, "--trainer.max_epochs=2"])}
    script = ["bash", str(BASE / "slurm.sh"), "simpleclick", "smoke"]
    done = subprocess.run(script, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 processes" in done.stderr + done.stdout
    # two steps more, as the batch is over both nodes
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    # and what each start left is there once
    assert sorted(path.parent.name for path in run.rglob("version_*/metrics.csv")) == ["version_0", "version_1"]
    assert sorted(path.parent.name for path in run.rglob("results.json")) == ["step0000002", "step0000004"]
    parts = [path.name.split("-")[-1] for path in run.glob("wandb/offline-run-*")]
    assert len(parts) == len(set(parts)) == 2  # runs of their own in one group, see test_train.py


def test_a_job_whose_time_is_over_goes_back_into_the_queue(tmp_path, environment):
    command(tmp_path, "srun", f'#!/bin/sh\necho "$@" > {tmp_path}/started\nsleep 2\nexit 5\n')
    command(tmp_path, "scontrol", f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    script = ["bash", str(BASE / "slurm.sh"), "simpleclick", "compile", "large"]
    job = subprocess.Popen(script, cwd=REPOSITORY, env=environment)
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=60) == 5  # it waits for the tasks, which SLURM ends
    assert (tmp_path / "asked").read_text().split() == ["requeue", "4242"]
    configs = [word for word in (tmp_path / "started").read_text().split() if word.endswith(".yaml")]
    names = ["_base/trainer", "simpleclick/config", "simpleclick/large", "_base/ddp", "_base/compile"]
    assert configs == [f"experiments/{name}.yaml" for name in names]
