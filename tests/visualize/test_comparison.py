"""`clicklab compare`: the table, its notes, what is refused, and the formats as programs read them."""

from __future__ import annotations

import csv
import io
import json
import re

import matplotlib.image
import numpy as np
import pytest
from runs import results_of, write_run

from clicklab.commands.main import main
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.visualize.comparison import MEAN, compare
from clicklab.visualize.published import published_rows, read_catalog
from clicklab.visualize.results_file import read_run
from clicklab.visualize.run_differences import differences
from clicklab.visualize.table_formats import as_csv, as_latex, as_markdown, as_text

ONE, TWO = {"GrabCut": [1, 2, 3, 0], "Berkeley": [2, 2]}, {"GrabCut": [1, 1, 1, 4], "Berkeley": [5, 2]}


@pytest.fixture
def folders(tmp_path):
    return [write_run(tmp_path / "one", ONE), write_run(tmp_path / "two", TWO)]


@pytest.fixture
def runs(folders):
    return [read_run(str(folder)) for folder in folders]


def number(table, label, dataset, metric="NoC@90"):
    (row,) = [row for row in table.rows if row.label == label]
    return row.cells[dataset, metric]


def test_numbers_means_and_the_best_by_hand(runs):
    table = compare(runs)
    assert number(table, "one", "GrabCut").value == (1 + 2 + 3 + 20) / 4
    assert number(table, "two", "GrabCut").value == (1 + 1 + 1 + 4) / 4
    assert number(table, "one", MEAN).value == ((1 + 2 + 3 + 20) / 4 + 2) / 2
    assert number(table, "two", "GrabCut").best and not number(table, "one", "GrabCut").best
    assert number(table, "one", "Berkeley").best and number(table, "two", MEAN).best
    assert table.metrics == ["NoC@85", "NoC@90"] and not table.notes and not table.refused


def test_of_iou_the_larger_is_best_and_equals_are_both(runs):
    table = compare(runs, metrics=["IoU@2", "NoF@90"])
    assert number(table, "two", "GrabCut", "IoU@2").best and not number(table, "one", "GrabCut", "IoU@2").best
    assert number(table, "two", "Berkeley", "NoF@90").best and number(table, "one", "Berkeley", "NoF@90").best


def test_published_rows_stand_apart_with_their_source(runs):
    catalog = {"ours": {"files": {"a_b.pth": {"variant": "base", "trained_on": "SBD", "published_source": "a README"}}}}
    catalog["ours"]["files"]["a_b.pth"]["published"] = {"GrabCut": {"NoC@90": 1.5}, "DAVIS": {"NoC@90": 5.0}}
    rows = published_rows(["a_b"], catalog)
    table = compare(runs, rows, official_counts={"GrabCut": 4})
    (row,) = [row for row in table.rows if row.published]
    assert row.source == "a README" and row.cells["GrabCut", "NoC@90"].best
    assert row.cells["Berkeley", "NoC@90"].value is None and row.cells[MEAN, "NoC@90"].value is None
    fewer = compare(runs, rows, official_counts={"GrabCut": 50})
    assert not number(fewer, row.label, "GrabCut").best and number(fewer, "two", "GrabCut").best
    assert any("of 50 objects, one has 4" in note for note in fewer.notes.values())


def test_the_catalogue_reads_as_it_stands():
    catalog = read_catalog()
    rows = published_rows(list(catalog))
    assert {row.method for row in rows} == set(catalog) and all(row.source for row in rows)
    (base,) = published_rows(["cocolvis_vit_base.pth"])
    assert base.numbers["GrabCut"]["NoC@90"] == 1.48 and not base.oracle
    assert all(row.oracle for row in published_rows(["piclick"]))
    with pytest.raises(ValueError, match=r"nothing is published for 'sam'.*simpleclick"):
        published_rows(["sam"])


def test_other_conditions_are_marked_explained_and_never_best(tmp_path, runs):
    short = read_run(str(write_run(tmp_path / "short", {"GrabCut": [1, 1, 1, 0]}, EvaluationProtocol(max_clicks=4))))
    part = read_run(str(write_run(tmp_path / "part", {"GrabCut": [1, 1]})))
    unmirrored = read_run(
        str(write_run(tmp_path / "unmirrored", {"GrabCut": [1, 1, 1, 1]}, EvaluationProtocol(flip=False)))
    )
    table = compare([*runs, short, part, unmirrored])
    said = list(table.notes.values())
    assert any("max_clicks 4 (there 20)" in note for note in said)
    assert any("GrabCut: 2 objects, one 4" in note for note in said)
    assert any("mirrored view no" in note for note in said)
    assert not number(table, "short", "GrabCut").best and not number(table, "part", "GrabCut").best
    assert number(table, "unmirrored", "GrabCut").best  # methods may look as they like; it is said all the same
    assert len(table.refused) == 3
    assert {one.run for one in differences([*runs, short], ["NoC@90"])} == {"two"}  # its clicks mean something else


def test_differences_are_paired(tmp_path, runs):
    (grabcut, berkeley, mean) = differences(runs, ["NoC@90"])
    assert grabcut.interval.mean == np.mean([0, -1, -2, -16]) and (grabcut.fewer, grabcut.more) == (3, 0)
    assert berkeley.interval.mean == 1.5 and mean.dataset == MEAN
    assert mean.interval.mean == pytest.approx((grabcut.interval.mean + berkeley.interval.mean) / 2)
    # the same hard object in both: what it costs cancels, and the interval is far narrower than the numbers spread
    counts = list(range(1, 19))
    a = read_run(str(write_run(tmp_path / "a", {"GrabCut": counts})))
    b = read_run(str(write_run(tmp_path / "b", {"GrabCut": [count + 1 for count in counts]})))
    (one,) = differences([a, b], ["NoC@90"])
    assert tuple(one.interval) == (1.0, 1.0, 1.0)


def test_formats_as_their_readers_take_them(runs):
    table = compare(runs, published_rows(["simpleclick"]), official_counts={"GrabCut": 50, "Berkeley": 100})
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    found = {(row["method"], row["dataset"], row["metric"]): float(row["value"]) for row in rows}
    assert found["one", "GrabCut", "NoC@90"] == 6.5 and {row["from"] for row in rows} == {"measured", "published"}
    markdown = as_markdown(table).splitlines()
    assert len({line.count("|") - line.count("\\|") for line in markdown if line.startswith("|")}) == 1
    assert "**1.75**" in markdown[3] and "*simpleclick base" in "\n".join(markdown)
    latex = as_latex(table)
    body = re.findall(r"\\midrule\n(.*?)\\bottomrule", latex, re.DOTALL)[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count("&") for line in lines} == {6} and r"\textbf{1.75}" in latex and r"COCO\_LVIS" in latex
    text = as_text(table)
    assert "1.75*" in text and text.index("published-") < text.index("simpleclick base")


def test_the_command_writes_table_and_figure(folders, tmp_path, capsys):
    assert main(["compare", *map(str, folders), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "two - one" in said and "1.75*" in said
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"table.txt", "table.md", "table.tex", "table.csv", "curves.png", "curves.pdf", "curves.svg"}
    picture = matplotlib.image.imread(tmp_path / "out" / "curves.png")
    assert picture.shape[1] == pytest.approx(6.9 * 300, abs=2)  # two panels: both columns of a paper
    assert b"Type3" not in (tmp_path / "out" / "curves.pdf").read_bytes()
    assert "mean IoU</text>" in (tmp_path / "out" / "curves.svg").read_text()


def edited(content, change):
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["datasets"]["GrabCut"]["noc"].update({"90": 1.0}), "changed by hand"),
        (lambda c: c["datasets"]["GrabCut"]["objects"][0]["ious"].append(0.9), "1 clicks and 2 IoUs"),
        (lambda c: c["datasets"]["GrabCut"]["objects"][0].update(ious=["x"]), "not a number from 0 to 1"),
        (lambda c: c["datasets"]["GrabCut"]["objects"][1].update(index=0), "listed twice"),
        (lambda c: c["datasets"]["GrabCut"].update(objects=None), "no list of `objects`"),
        (lambda c: c.pop("protocol"), "no results of `clicklab evaluate`"),
        (lambda c: c["datasets"].clear(), "holds no dataset"),
    ],
)
def test_a_file_changed_by_hand_ends_in_one_line(tmp_path, capsys, change, said):
    (tmp_path / "results.json").write_text(json.dumps(edited(results_of(ONE), change)))
    assert main(["compare", str(tmp_path)]) == 2
    captured = capsys.readouterr().err
    assert said in captured and len(captured.splitlines()) == 1 and str(tmp_path) in captured


def test_what_cannot_be_compared_ends_in_one_line(folders, tmp_path, capsys):
    other = write_run(tmp_path / "other", {"GrabCut": [1, 1, 1, 1]}, names="wxyz")
    elsewhere = write_run(tmp_path / "elsewhere", {"SBD": [1]})
    short = write_run(tmp_path / "short", ONE, EvaluationProtocol(max_clicks=4))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "results.json").write_text('{"protocol": {')
    for more, said in (
        ([str(other)], "played different data under the name GrabCut: object 0 is a, object 1 there and w"),
        ([str(elsewhere)], "share no dataset"),
        ([str(tmp_path / "nowhere")], "there is no"),
        ([str(tmp_path)], "holds no results.json"),
        ([str(tmp_path / "cut")], "is no JSON"),
        ([str(short), "--strict"], "max_clicks 4 (there 20)"),
        ([str(folders[1]), "--metrics", "NoC@99"], "no run has NoC@99"),
        ([f"x={folders[0]}", f"x={folders[1]}"], "two runs are called x"),
        ([str(folders[1]), "--published", "nobody"], "nothing is published for 'nobody'"),
    ):
        assert main(["compare", str(folders[0]), *more]) == 2, more
        captured = capsys.readouterr().err
        assert said in captured and len(captured.splitlines()) == 1, captured


def test_names_by_hand_and_by_folder(folders, tmp_path, capsys):
    twin = write_run(tmp_path / "deeper" / "one", TWO)
    assert main(["compare", str(folders[0]), str(twin), f"third={folders[1]}"]) == 0
    said = capsys.readouterr().out
    assert "deeper/one" in said and "third" in said
