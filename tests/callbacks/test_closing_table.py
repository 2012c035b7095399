"""How a run begins and ends for who watches it, and its metrics over all its parts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from clicklab.commands.main import main
from clicklab.visualize.results_file import read_run
from clicklab.visualize.training_curves import merged_metrics, parts_of, training_figure

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def test_a_later_part_replaces_the_steps_it_repeats(tmp_path):
    """The run was killed at step 29 and went on from step 20."""
    write(tmp_path / "version_2" / "metrics.csv", [{"step": n, "train/loss": 3} for n in (19, 29, 39)])
    write(tmp_path / "version_10" / "metrics.csv", [{"step": 49, "train/loss": 4, "val/NoC@90": 7.5}])
    write(tmp_path / "version_0" / "metrics.csv", [{"step": n, "train/loss": 1} for n in (9, 19, 29)])
    (tmp_path / "version_1").mkdir()
    rows = merged_metrics(parts_of(tmp_path))
    assert [(int(row["step"]), row["train/loss"]) for row in rows] == [
        (9, "1"), (19, "3"), (29, "3"), (39, "3"), (49, "4"),
    ]  # fmt: skip
    figure = training_figure(rows)
    FigureCanvasAgg(figure).draw()
    assert [list(axes.lines[0].get_xdata()) for axes in figure.axes] == [[10, 20, 30, 40, 50], [50]]


@pytest.mark.parametrize("rows", [[], [{"step": "3", "val/NoC@90": "5"}], [{"step": "3", "train/loss": "5"}]])
def test_a_run_with_little_to_draw_is_drawn(rows):
    FigureCanvasAgg(training_figure(rows)).draw()


def fit(folder, *more):
    names = ("_base/trainer", "simpleclick/config", "simpleclick/smoke")
    files = [word for name in names for word in ("--config", str(EXPERIMENTS / f"{name}.yaml"))]
    return main(["fit", *files, f"--trainer.default_root_dir={folder}", "--trainer.log_every_n_steps=1", *more])


def test_a_run_says_what_it_does_and_ends_with_what_to_do_next(tmp_path, capfd):
    run = tmp_path / "mine"
    assert fit(run, "--ckpt_path=last") == 0
    said = capfd.readouterr()
    first = next(line for line in said.out.splitlines() if line.startswith("fit: "))
    assert "SimpleClick mini" in first and "Shapes" in first and "batch 4" in first and str(run) in first
    assert "measuring Shapes" in said.out and "epoch 1 of 1" in said.out and "2/2" in said.out
    for advertisement in ("litlogger", "Tip:", "LeafSpec", "TPU", "no last checkpoint"):
        assert advertisement not in said.out + said.err
    (best,) = (run / "checkpoints").glob("best-NoC90=*.ckpt")
    assert f"best: {best}" in said.out and f"clicklab evaluate {best}" in said.out
    assert fit(run, "--ckpt_path=last", "--trainer.max_epochs=3") == 0
    said = capfd.readouterr().out
    assert "goes on in" in said and "6/6" in said
    table = said[said.index("step  NoC@85") :].splitlines()
    assert [line.split()[0] for line in table[1:4]] == ["2", "4", "6"]
    with (run / "results" / "metrics.csv").open() as file:
        losses = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert losses == [0, 1, 2, 3, 4, 5]
    assert (run / "results" / "training.png").stat().st_size > 0
    sheets = [(run / "results" / "val" / f"step{step:07d}" / "dialogues.png").stat().st_size for step in (2, 4, 6)]
    assert min(sheets) > 1000
    assert read_run(str(run)).label == "mine step 6"  # `compare` takes a run's last validation
