"""Every benchmark runs at a small size and writes its record; no time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = {
    "next_click": "--batch 2 --side 64 --repeats 1",
    "data": "--samples 4",
    "evaluate": "--variant mini --objects 2 --side 64 --clicks 2 --batch 2",
    "model_cost": "--only simpleclick:mini icmformer:swin_mini --seconds 1",
    "first_click": "--scenes 2",
    "train_step": "--variant mini --batch 2 --crop 64 --side 96 --steps 1 --workers 0",
}


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("*.py")))
def test_benchmark_runs(name, tmp_path):
    record = tmp_path / "record.json"
    command = [
        sys.executable,
        str(REPOSITORY / "benchmarks" / f"{name}.py"),
        *SMALL[name].split(),
        "--output",
        str(record),
    ]
    paths = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(record.read_text())
    assert done.stdout.strip()
