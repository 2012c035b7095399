"""`clicklab tables`: plans, runs that go on, several workers, layouts beside the published numbers."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from clicklab.commands.main import main
from clicklab.tables import run as running
from clicklab.tables.collect import as_latex, as_markdown, as_text, lines
from clicklab.tables.plan import FINISHED, Run, Site, evaluation, training
from clicklab.tables.run import run_missing
from clicklab.tables.spec import Column, Row, Table

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
COLUMNS = (Column("GrabCut", "NoC@90"), Column("GrabCut", "NoF@90"), Column("Berkeley", "IoU@1"))
ROWS = (Row("peer", (1.5, 2, None)), Row("ours", (1.2, None, 0.8), method="ritm", overlays=("tiny",)))
TABLE = Table("ritm-1", "a paper, Table 1", COLUMNS, ROWS)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "data" / "GrabCut").mkdir(parents=True)
    return Site(EXPERIMENTS, tmp_path / "data", tmp_path / "checkpoints", tmp_path / "runs")


def results(site, dataset, **record):
    folder = evaluation(ROWS[1], dataset, site).folder
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"datasets": {dataset: record}}))


def test_rows_with_the_same_training_share_it_and_peers_have_none(site):
    again = replace(ROWS[1], name="again", evaluate={"cfr": 1})
    assert training(ROWS[1], site) == training(again, site) and training(ROWS[0], site) is None
    one, two = evaluation(ROWS[1], "GrabCut", site), evaluation(again, "GrabCut", site)
    assert one.folder != two.folder and two.command[-4:-2] == ("--cfr", "1")


def test_a_released_file_at_hand_stands_for_the_training(site):
    row = replace(ROWS[1], released="x.pth")
    assert training(row, site) is not None
    site.checkpoints.mkdir()
    (site.checkpoints / "x.pth").touch()
    assert training(row, site) is None
    assert evaluation(row, "GrabCut", site).command[1] == str(site.checkpoints / "x.pth")


def test_measured_numbers_stand_beside_the_published_ones(site):
    results(site, "GrabCut", noc={"90": 3.25}, nof={"90": 4}, miou=[0.5])
    found = lines(TABLE, site, {})
    assert [(line.name, line.origin, line.values) for line in found] == [
        ("peer", "published", (1.5, 2, None)),
        ("ours", "published", (1.2, None, 0.8)),
        ("ours", "measured", (3.25, 4, None)),
    ]
    text, markdown, latex = (layout(COLUMNS, found) for layout in (as_text, as_markdown, as_latex))
    assert "3.25" in text and len({len(line) for line in text.splitlines()}) == 1
    assert markdown.splitlines()[-1] == "| ours | measured | 3.25 | 4 | - |"
    assert r"ours$^\dagger$ & 1.20 & - & 0.800 \\" in latex and r"\multicolumn{2}{c}{GrabCut}" in latex


def test_where_the_user_picks_the_row_of_the_oracle_counts(site):
    row = replace(ROWS[1], evaluate={"choice": "oracle"})
    folder = evaluation(row, "GrabCut", site).folder
    folder.mkdir(parents=True)
    records = {"GrabCut": {"noc": {"90": 9.0}}, "GrabCut-oracle": {"noc": {"90": 2.0}}}
    (folder / "results.json").write_text(json.dumps({"datasets": records}))
    assert lines(replace(TABLE, rows=(row,)), site, {})[1].values[0] == 2.0


def commands(tmp_path, names):
    return [Run(tmp_path / name, ("evaluate", name)) for name in names]


def test_runs_go_on_and_a_failure_does_not_stop_the_others(site, tmp_path, monkeypatch):
    ran, said = [], []

    def fake(command, stdout, stderr, env):
        ran.append((command[-1], env["DATA_ROOT"]))
        stdout.write("it is broken\n")
        return subprocess.CompletedProcess(command, 1 if command[-1] == "bad" and len(ran) < 4 else 0)

    monkeypatch.setattr(running.subprocess, "run", fake)
    runs = commands(tmp_path, ["good", "bad", "fine"])
    assert run_missing(runs, site, lambda run: None, said.append) == 1
    assert any("bad" in line and "it is broken" in line for line in said)
    assert run_missing(runs, site, lambda run: None, said.append) == 0
    assert [name for name, _ in ran] == ["good", "bad", "fine", "bad"]
    assert {root for _, root in ran} == {str(site.data)}
    changed = [Run(tmp_path / "good", ("evaluate", "good", "--cfr", "1"))]
    assert not changed[0].is_finished and (tmp_path / "good" / FINISHED).exists()


def test_a_run_that_another_process_is_at_is_left_to_it(site, tmp_path, monkeypatch):
    said, runs = [], commands(tmp_path, ["one"])
    monkeypatch.setattr(running.subprocess, "run", lambda *args, **kwargs: pytest.fail("ran twice"))
    with running._taken(runs[0].folder) as mine:
        assert mine
        assert run_missing(runs, site, lambda run: None, said.append) == 0
    assert "another process" in said[0]


def test_what_is_missing_is_named_before_anything_runs(site, tmp_path):
    said = []
    run = Run(tmp_path / "x", ("evaluate", "x"), (site.data / "Berkeley",))
    assert run_missing([run], site, lambda run: None, said.append) == 1
    assert str(site.data / "Berkeley") in said[0]


def test_list_and_dry_run(capsys, tmp_path):
    file = ["--file", str(EXPERIMENTS / "tables.yaml"), "--data-root", str(tmp_path)]
    assert main(["tables", *file]) == 0
    listed = capsys.readouterr().out
    assert "piclick-5" in listed and "COCO_LVIS" in listed and "203   146" in listed
    assert main(["tables", "piclick-5", *file, "--dry-run"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("clicklab fit") for line in printed) == 1  # one training, three scores, six datasets
    assert sum(line.startswith("clicklab evaluate") for line in printed) == 3 * 6
    assert main(["tables", "piclick-50", *file]) == 2
    assert "piclick-5" in capsys.readouterr().err
