"""Every method takes two training steps on real photos (BSDS500) and is measured on real objects (GrabCut).

The same small networks as on Shapes (`make smoke-METHOD`); and every row of the papers' tables with more than one
overlay, as `clicklab tables --scale tiny` trains it (rows of one overlay are marked slow: tests/test_experiments.py has
them all).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from slices import slice_of_bsds, slice_of_grabcut

from clicklab.commands.main import main
from clicklab.tables.plan import Site, distinct, training, write_tiny_overlay
from clicklab.tables.spec import Row, read_tables

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
METHODS = sorted(path.parent.name for path in EXPERIMENTS.glob("*/config.yaml"))
ROWS = {
    (row.method, *row.overlays): row
    for table in read_tables(EXPERIMENTS / "tables.yaml").values()
    for row in table.rows
    if row.method is not None
}
TRIAL = ["--trainer.fast_dev_run=2", "--data.init_args.limit=2", "--data.init_args.num_workers=0"]


@pytest.fixture(scope="module")
def data(shared_data, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("slices")
    slice_of_bsds(shared_data / "BSDS500", root / "BSDS500")
    slice_of_grabcut(shared_data / "GrabCut", root / "GrabCut")
    return root


def site(data: Path, folder: Path) -> Site:
    return Site(EXPERIMENTS, data, folder / "checkpoints", folder / "runs", tiny=True, on=("GrabCut",))


def try_row(row: Row, data: Path, folder: Path) -> int:
    """Two steps of the training behind a row at the tiny scale, and a validation."""
    run = training(row, site(data, folder))
    assert run is not None and not run.missing
    write_tiny_overlay(row, run, site(data, folder))
    return main([*run.command, *TRIAL, "--data.init_args.batch_size=2", "--ckpt_path=null"])


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_and_a_measurement_on_real_photos(method, data, tmp_path):
    assert try_row(Row(method, (), method=method), data, tmp_path) == 0


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=() if len(row.overlays) > 1 else pytest.mark.slow) for row in ROWS.values()],
    ids=["-".join(map(str, key)) for key in ROWS],
)
def test_rows_of_the_papers_tables_run_at_the_tiny_scale(row, data, tmp_path):
    assert try_row(row, data, tmp_path) == 0


def test_one_training_serves_all_rows_that_share_it(data, tmp_path):
    rows = [row for table in read_tables(EXPERIMENTS / "tables.yaml").values() for row in table.rows]
    runs = distinct(training(replace(row, released=None), site(data, tmp_path)) for row in rows)
    assert len(runs) == len(ROWS)
