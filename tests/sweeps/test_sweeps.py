"""`clicklab sweep`: W&B's files, grids that are walked once, workers that share, trials that were killed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml
from optuna.trial import TrialState

from clicklab.commands.main import main
from clicklab.commands.sweep import overlay_files
from clicklab.sweeps.spec import for_wandb, read_sweep
from clicklab.sweeps.study import OWNER, evaluation_rows, finished, open_study, rows_of, run_study
from clicklab.sweeps.trial import TrialFailed, last_logged, taken, trial_folder
from clicklab.visualize.sweeps import sweep_figure

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FILES = sorted(EXPERIMENTS.glob("*/sweep.yaml"))
FILES = [path for path in FILES if path.parent.name != "_base"]
TEXT = """
program: clicklab
method: {method}
metric: {{name: val/NoC@90, goal: minimize}}
command: [clicklab, fit, --config, a.yaml, --config, b.yaml, "${{args}}"]
parameters: {parameters}
"""
GRID = "{x: {values: [0, 1, 2]}, y: {values: [[1, 1], [2, 3]]}}"


def sweep_file(folder, method="grid", parameters=GRID, more=""):
    path = folder / "sweep.yaml"
    path.write_text(TEXT.format(method=method, parameters=parameters) + more)
    return path


def cost(values):
    return (values["x"] - 1) ** 2 + values["y"][1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_sweep_file_is_read_and_given_to_wandb_without_our_block(path):
    sweep = read_sweep(path)
    assert sweep.parameters and sweep.metric.startswith("val/")
    text = yaml.safe_load(for_wandb(path, ["experiments/x/tiny.yaml"]))
    assert "evaluate" not in text and text["command"].count("${args}") == 1
    at = text["command"].index("experiments/x/tiny.yaml")
    assert text["command"][at + 1 :] == ["--config", "experiments/_base/sweep.yaml", "${args}"]
    known = yaml.safe_load(path.read_text())
    assert known["parameters"] == text["parameters"] and text["project"] == "clicklab"


def test_parameters_stand_where_wandb_puts_them_and_overlays_before_the_last_file(tmp_path):
    sweep = read_sweep(sweep_file(tmp_path))
    words = sweep.words({"x": 2, "y": [2, 3], "z": None, "name": "a"}, ["c.yaml"])
    assert words[:7] == ["fit", "--config", "a.yaml", "--config", "c.yaml", "--config", "b.yaml"]
    assert words[7:] == ["--x=2", "--y=[2, 3]", "--z=null", "--name=a"]


def test_a_grid_is_walked_once_by_two_threads_and_a_failure_does_not_stop_it(tmp_path):
    sweep, seen = read_sweep(sweep_file(tmp_path)), []

    def objective(values):
        seen.append((values["x"], tuple(values["y"])))
        if seen[-1] == (2, (1, 1)):
            raise TrialFailed("exit code 1: it was too large")
        return cost(values), [{"mask_threshold": 0.5, "NoC@90": 1.0}]

    study = open_study(sweep, "toy", tmp_path / "study.log")
    run_study(study, sweep, objective, None, jobs=2, say=lambda text: None)
    assert sorted(seen) == sorted(itertools.product([0, 1, 2], [(1, 1), (2, 3)]))
    rows = rows_of(study, sweep)
    assert len(rows) == 6 and [row["failed"] for row in rows if row["failed"]] == ["exit code 1: it was too large"]
    assert min((row for row in rows if not row["failed"]), key=lambda row: row["val/NoC@90"])["x"] == 1
    assert len(evaluation_rows(study, sweep)) == 5
    again = open_study(sweep, "toy", tmp_path / "study.log")
    run_study(again, sweep, objective, None, jobs=2, say=lambda text: None)
    assert len(seen) == 6


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_trials_are_counted_over_all_workers(tmp_path, method):
    path = sweep_file(tmp_path, method, "{x: {min: 0, max: 5}, y: {values: [[1, 1]]}, r: {min: 0.1, max: 10.0}}")
    sweep, seen = read_sweep(path), []

    def objective(values):
        seen.append(values)
        assert isinstance(values["x"], int) and 0.1 <= values["r"] <= 10
        return cost(values), []

    for wanted in (3, 5, 5):
        study = open_study(sweep, "toy", tmp_path / "study.log")
        run_study(study, sweep, objective, wanted, jobs=1, say=lambda text: None)
        assert len(seen) == len(finished(study)) == wanted


def test_a_trial_whose_process_is_gone_is_run_again_with_its_parameters(tmp_path):
    sweep = read_sweep(sweep_file(tmp_path))
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    study = open_study(sweep, "toy", tmp_path / "study.log")
    trial = study.ask()
    left = {name: trial.suggest_int(name, 0, len(p.values) - 1) for name, p in sweep.parameters.items()}
    trial.set_user_attr(OWNER, [os.uname().nodename, int(gone.stdout)])
    study, seen = open_study(sweep, "toy", tmp_path / "study.log"), []
    run_study(study, sweep, lambda values: (seen.append(values) or cost(values), []), None, 1, lambda text: None)
    first = {"x": [0, 1, 2][left["x"]], "y": [[1, 1], [2, 3]][left["y"]]}
    assert seen[0] == first and len(seen) == 6 == len(finished(study))
    assert not study.get_trials(states=(TrialState.RUNNING,))


def test_another_sweep_in_the_same_storage_is_refused(tmp_path):
    open_study(read_sweep(sweep_file(tmp_path)), "toy", tmp_path / "study.log")
    other = read_sweep(sweep_file(tmp_path, parameters="{x: {values: [7]}}"))
    with pytest.raises(ValueError, match=r"study\.log holds a sweep over other parameters"):
        open_study(other, "toy", tmp_path / "study.log")


def test_a_killed_trial_finds_its_folder_again(tmp_path):
    values = {"model.init_args.betas": [1, 2], "data.init_args.user_threshold": 0.49}
    assert trial_folder(tmp_path, values) == trial_folder(tmp_path, dict(values))
    assert trial_folder(tmp_path, values) != trial_folder(tmp_path, values | {"data.init_args.user_threshold": 0.5})
    assert "user_threshold=0.49" in trial_folder(tmp_path, values).name


def test_the_metric_is_the_last_one_of_all_parts_of_a_run(tmp_path):
    for part, value in enumerate([20.0, 18.5]):
        path = tmp_path / "logs" / f"version_{part}" / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"step,val/NoC@90,train/loss\n1,,0.5\n2,{value},\n3,,0.4\n")
        os.utime(path, (part, part))
    assert last_logged(tmp_path, "val/NoC@90") == 18.5 and last_logged(tmp_path, "val/NoC@95") is None


def test_pictures_frame_the_best_cell(tmp_path):
    rows = [{"x": x, "y": y, "m": (x - 1) ** 2 + y} for x in (0, 1, 2) for y in (3, 4)]
    figure = sweep_figure(rows, ["x", "y"], "m", minimize=True)
    (frame,) = figure.axes[0].patches
    assert frame.get_xy() == (-0.5, 0.5)  # y = 3 is column 0, x = 1 row 1
    line = sweep_figure(rows, ["x"], "m", minimize=True).axes[0].lines
    assert line[0].get_ydata().tolist() == [4.5, 3.5, 4.5] and line[1].get_xdata().tolist() == [1]
    with pytest.raises(ValueError, match="nothing to draw"):
        sweep_figure([{"x": 1, "m": None}], ["x"], "m", minimize=True)
    plt.close("all")


def test_data_of_the_block_evaluate_are_asked_for_before_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DATA_ROOT", raising=False)
    file = sweep_file(tmp_path, more='evaluate: {data: ["GrabCut=${DATA_ROOT}/GrabCut"], cfr: {values: [1]}}\n')
    assert main(["sweep", str(file), "--output", str(tmp_path / "out")]) == 2
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    assert main(["sweep", str(file), "--output", str(tmp_path / "out")]) == 2
    unset, missing = capsys.readouterr().err.strip().splitlines()
    assert "variable is not set: DATA_ROOT=" in unset and f"{tmp_path}/GrabCut is missing" in missing
    assert "--no-evaluate" in unset and "--no-evaluate" in missing and not (tmp_path / "out").exists()


def test_a_training_that_outlived_its_killed_worker_is_waited_for(tmp_path):
    """The worker is killed when it has just begun a training; who takes the trial up again finds that ended."""
    worker = """
import os, signal, subprocess, sys
from pathlib import Path
from clicklab.sweeps.trial import taken
folder = Path(sys.argv[1])
with taken(folder) as inherited:
    training = "import sys, time; time.sleep(1); open(sys.argv[1], 'w').close()"
    subprocess.Popen([sys.executable, "-c", training, str(folder / "ended")], pass_fds=inherited)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", worker, str(tmp_path)])
    assert killed.returncode == -9
    with taken(tmp_path):
        assert (tmp_path / "ended").exists()


def test_mistakes_end_in_one_line(tmp_path, capsys):
    assert main(["sweep", str(tmp_path / "none.yaml")]) == 2
    broken = tmp_path / "broken.yaml"
    broken.write_text("program: clicklab\nmethod: grid\n")
    assert main(["sweep", str(broken)]) == 2
    assert main(["sweep", str(sweep_file(tmp_path, "random")), "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 3 and "'command' is missing" in said[1] and "--trials N" in said[2]
    with pytest.raises(ValueError, match=r"known: .*tiny"):
        overlay_files(EXPERIMENTS / "ritm" / "sweep.yaml", ["tiniest"])
    assert overlay_files(EXPERIMENTS / "ritm" / "sweep.yaml", ["tiny", "ddp"])[1].endswith("_base/ddp.yaml")


def test_the_command_runs_trials_measures_them_and_writes_its_files(tmp_path, monkeypatch, capsys):
    """The processes that it would start are played; everything else is real."""
    from clicklab.sweeps import trial

    calls = []

    def fake(words, folder, environment, inherited=()):
        calls.append((words, environment))
        folder.mkdir(parents=True, exist_ok=True)
        if words[0] == "fit":
            x = int(next(word for word in words if word.startswith("--x=")).removeprefix("--x="))
            (folder / "logs").mkdir()
            (folder / "logs" / "metrics.csv").write_text(f"step,val/NoC@90\n1,{10 + x}\n")
        else:
            output = Path(words[words.index("--output") + 1])
            output.mkdir(parents=True)
            (output / "results.json").write_text('{"datasets": {"GrabCut": {"noc": {"90": 4.5}}}}')

    monkeypatch.setattr(trial, "_run", fake)
    more = f"evaluate: {{data: [GrabCut={tmp_path}], mask_threshold: {{values: [0.4, 0.6]}}}}\n"
    path = sweep_file(tmp_path, parameters="{x: {values: [1, 2]}}", more=more)
    assert main(["sweep", str(path), "--output", str(tmp_path / "out")]) == 0
    trials = (tmp_path / "out" / "trials.csv").read_text().splitlines()
    assert trials[0] == "trial,x,val/NoC@90,failed" and sorted(row.split(",")[2] for row in trials[1:]) == [
        "11.0",
        "12.0",
    ]
    evaluations = (tmp_path / "out" / "evaluations.csv").read_text().splitlines()
    assert len(evaluations) == 1 + 2 * 2 and "mask_threshold" in evaluations[0]
    assert (tmp_path / "out" / "sweep.png").stat().st_size > 0
    fits = [(words, environment) for words, environment in calls if words[0] == "fit"]
    assert all(environment == {"WANDB_RUN_GROUP": tmp_path.name} for _, environment in fits)
    assert all("--ckpt_path=last" in words for words, _ in fits)
