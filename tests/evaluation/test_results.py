"""What an evaluation leaves behind, and how a broken one goes on."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from toys import Analytic, Staged, drawn_object

from clicklab.evaluation.journal import Journal, checksum, fingerprint
from clicklab.evaluation.object_result import SCHEMA, ObjectResult, from_journal, from_tensors, journal_row, to_tensors
from clicklab.evaluation.play import JOURNAL, evaluate_objects
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import save_results, table
from clicklab.nn.network import as_click_network
from clicklab.records import SkippedObject
from clicklab.views.zoom_in import ZoomIn
from clicklab.visualize.curves import curve_figure, save_curve
from clicklab.visualize.sheets import picture_sheet

PROTOCOL = EvaluationProtocol(max_clicks=4, zoom_in=ZoomIn((40, 40)))


class Drawn:
    """Objects drawn on demand; notes what was read, can break off, and holds one object that cannot be read."""

    def __init__(self, count=6, stop_at=None):
        self.count, self.stop_at, self.read = count, stop_at, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        if index == self.stop_at:
            raise KeyboardInterrupt
        return SkippedObject("broken", 1, 3, "unreadable") if index == 3 else drawn_object(index, (60, 80))


def without_time(results):
    rows = json.loads(json.dumps(results))
    for record in rows["datasets"].values():
        del record["spc"], record["spc_first"], record["spc_later"]
        for row in record["objects"]:
            del row["seconds"]
    return rows["datasets"]


def test_the_record_has_the_promised_form(tmp_path):
    results = evaluate_objects(Analytic(), {"A": Drawn(), "B": Drawn(2)}, PROTOCOL, batch_size=2, output=tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    record = results["datasets"]["A"]
    assert set(record["noc"]) == set(record["nof"]) == {"85", "90", "95"} and len(record["miou"]) == 4
    assert [row["index"] for row in record["objects"]] == [0, 1, 2, 4, 5]
    assert record["skipped"] == [{"name": "broken", "object": 1, "index": 3, "reason": "unreadable"}]
    first = record["objects"][0]
    assert first["name"] == "drawn0" and first["object"] == 1 and len(first["clicks"]) == len(first["ious"])
    assert all(isinstance(value, int) for click in first["clicks"] for value in click)
    assert record["spc"] > 0


def test_files_and_table(tmp_path):
    results = evaluate_objects(
        Analytic(), {"A": Drawn()}, EvaluationProtocol(max_clicks=3, boundary_iou=True, zoom_size=40)
    )
    save_results(results, tmp_path)
    save_curve(results, tmp_path)
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 and float(rows[0]["IoU@1"]) == pytest.approx(
        results["datasets"]["A"]["objects"][0]["ious"][0], abs=1e-6
    )
    text = (tmp_path / "table.txt").read_text()
    for expected in ("NoC@90", "BIoU@1", "skipped", "preset official", "at most 3 clicks", "zoom to 40"):
        assert expected in text
    clean = {**results, "protocol": {**results["protocol"], "preset": "clean"}}
    both = table({"ours": results, "theirs": clean})
    assert "ours: preset official" in both and "theirs: preset clean" in both
    lower = {**results, "protocol": {**results["protocol"], "precision": "bf16-mixed"}}
    assert "bf16-mixed" in table(lower) and "bf16-mixed" not in table(results)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("count", "curve"), [(24, [0.5, 0.7, 0.9]), (1, [0.9]), (1, [1.0] * 20), (1, [math.nan] * 5)])
def test_a_curve_is_readable(count, curve):
    """All papers' datasets twice, one click, nothing to improve, nothing played."""
    datasets = {f"dataset {row}": {"miou": curve} for row in range(count)}
    figure = curve_figure({"protocol": {"preset": "official", "max_clicks": len(curve)}, "datasets": datasets})
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    assert axes.get_window_extent().height > 0.7 * figure.bbox.height
    assert axes.get_legend().get_window_extent().y0 > 0
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == count
    assert axes.get_ylim()[1] == 1
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_dataset_without_playable_objects_is_reported(tmp_path):
    class Broken(Drawn):
        def __getitem__(self, index):
            return SkippedObject("broken", 1, index, "unreadable")

    results = evaluate_objects(Analytic(), {"A": Broken(2)}, PROTOCOL, output=tmp_path)
    assert "nan" in table(results) and len(results["datasets"]["A"]["skipped"]) == 2
    assert "A: skipped broken, object 1: unreadable; all 2 are in results.json" in table(results)
    assert json.loads((tmp_path / "results.json").read_text())["datasets"]["A"]["noc"]["90"] is None


def test_boundary_iou_never_rewards_more_than_a_perfect_outline():
    results = evaluate_objects(
        Analytic(), {"A": Drawn(2)}, EvaluationProtocol(max_clicks=3, boundary_iou=True, zoom_size=40)
    )
    for row in results["datasets"]["A"]["objects"]:
        assert len(row["boundary_ious"]) == len(row["ious"])
        assert all(0 <= b <= 1 for b in row["boundary_ious"])


def test_a_broken_run_goes_on_with_what_is_missing(tmp_path):
    whole = evaluate_objects(Analytic(), {"A": Drawn()}, PROTOCOL, batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate_objects(Analytic(), {"A": Drawn(stop_at=4)}, PROTOCOL, batch_size=1, output=tmp_path)
    journal = tmp_path / JOURNAL
    kept = len(journal.read_text().splitlines()) - 1
    assert kept >= 1
    with journal.open("a") as file:
        file.write('{"dataset": "A", "ind')  # the power went off here
    objects = Drawn()
    resumed = evaluate_objects(Analytic(), {"A": objects}, PROTOCOL, batch_size=4, output=tmp_path)
    assert without_time(resumed) == without_time(whole)
    assert sorted(objects.read) == list(range(6))  # what was finished is compared with what was played
    before = journal.read_text()
    assert without_time(evaluate_objects(Analytic(), {"A": Drawn()}, PROTOCOL, output=tmp_path)) == without_time(whole)
    assert journal.read_text() == before
    limited = evaluate_objects(Analytic(), {"A": Drawn(2)}, PROTOCOL, output=tmp_path)
    assert len(limited["datasets"]["A"]["objects"]) == 2


def test_a_journal_of_other_settings_is_refused(tmp_path):
    evaluate_objects(Analytic(), {"A": Drawn(1)}, PROTOCOL, output=tmp_path)
    with pytest.raises(
        ValueError, match=r"progress.jsonl holds results of other settings \(max_clicks: 4 there, 5 now\)"
    ):
        evaluate_objects(
            Analytic(), {"A": Drawn(1)}, EvaluationProtocol(max_clicks=5, zoom_in=PROTOCOL.zoom_in), output=tmp_path
        )
    with pytest.raises(ValueError, match="network"):
        evaluate_objects(Staged(), {"A": Drawn(1)}, PROTOCOL, output=tmp_path)
    with pytest.raises(ValueError, match="compiled: False there, True now"):
        evaluate_objects(Analytic(), {"A": Drawn(1)}, PROTOCOL, output=tmp_path, compiled=True)
    row = (tmp_path / JOURNAL).read_text().splitlines()[1]
    torn = [
        row.replace('"dataset"', '"data"'),
        row.replace('"index"', '"place"'),
        row.replace('"ious": [', '"ious": [1,'),
    ]
    for lines in (["no json"], ["[1]"], ["5"], *(['{"settings": {}}', line] for line in torn)):
        (tmp_path / JOURNAL).write_text("\n".join(lines) + "\n")
        with pytest.raises(ValueError, match=r"progress\.jsonl is no journal .*remove it"):
            Journal(tmp_path / JOURNAL, {})


def test_a_run_that_came_to_no_result_binds_nobody_to_its_settings(tmp_path):
    """As after a wrong batch size, or Ctrl-C in the first seconds."""
    with pytest.raises(ValueError, match="batch_size"):
        evaluate_objects(Analytic(), {"A": Drawn(1)}, PROTOCOL, output=tmp_path, batch_size=0)
    evaluate_objects(Analytic(), {"A": Drawn(1)}, replace(PROTOCOL, max_clicks=2), output=tmp_path)
    header, row = (tmp_path / JOURNAL).read_text().splitlines()
    assert json.loads(header)["settings"]["max_clicks"] == 2 and json.loads(row)["index"] == 0


class Renamed(Drawn):
    """Other pictures, or the same ones under other names."""

    def __init__(self, shift, prefix):
        super().__init__(3)
        self.shift, self.prefix = shift, prefix

    def __getitem__(self, index):
        item = drawn_object(index + self.shift, (60, 80))
        return replace(item, index=index, name=f"{self.prefix}{index}")


@pytest.mark.parametrize(("shift", "prefix"), [(1, "drawn"), (0, "other")])
def test_a_journal_of_other_data_is_refused(tmp_path, shift, prefix):
    """The dataset's name and the numbers of its objects do not tell one folder from another."""
    evaluate_objects(Analytic(), {"A": Renamed(0, "drawn")}, PROTOCOL, output=tmp_path)
    with pytest.raises(ValueError, match=r"holds results of other data: object 0 of A was drawn0 .*another output"):
        evaluate_objects(Analytic(), {"A": Renamed(shift, prefix)}, PROTOCOL, output=tmp_path)


def test_masks_to_start_from_are_data_where_they_are_used():
    item = drawn_object(0, (60, 80))
    other = replace(item, initial_mask=np.ones((60, 80), dtype=bool))
    assert checksum(item, with_start=False) == checksum(other, with_start=False)
    assert checksum(item, with_start=True) != checksum(other, with_start=True)
    assert checksum(item, with_start=False) != checksum(replace(item, target=1 - item.target), with_start=False)


def test_the_record_says_what_was_measured(tmp_path):
    results = evaluate_objects(Analytic(), {"A": Drawn(2)}, PROTOCOL, source="a.pth", output=tmp_path)
    told = {"source": "a.pth", "device": "cpu", "compiled": False, "arguments": {}, "weights": "Analytic:00000000"}
    assert results["run"] == told
    assert results["data"]["A"] == {"objects": 2, "reader": "Drawn", "count": 2, "stop_at": None}


def test_names_that_are_no_text_reach_the_table_of_objects(tmp_path):
    class Odd(Drawn):
        def __getitem__(self, index):
            return replace(drawn_object(index, (60, 80)), name="\udcffx")

    evaluate_objects(Analytic(), {"A": Odd(1)}, PROTOCOL, output=tmp_path)
    assert b"\xffx" in (tmp_path / "results.csv").read_bytes()


def test_other_weights_are_other_settings():
    torch.manual_seed(0)
    one, two = (as_click_network(torch.nn.Linear(3, 3)) for _ in range(2))
    assert fingerprint(one) != fingerprint(two)
    two.load_state_dict(one.state_dict())
    assert fingerprint(one) == fingerprint(two)


def test_the_network_gets_its_mode_back_and_indices_are_checked():
    network = Analytic()
    network.frozen = torch.nn.BatchNorm2d(1).eval()
    evaluate_objects(network, {"A": Drawn(1)}, PROTOCOL)
    assert network.training and not network.frozen.training
    with pytest.raises(ValueError, match="index must be the position"):
        evaluate_objects(network, {"A": [drawn_object(5, (60, 80))]}, PROTOCOL)


def test_larger_views_of_a_dataset_are_obeyed():
    class Large(Drawn):
        view_scale = 1.5

    class Noting(Analytic):
        def forward(self, image, clicks, prev_mask):
            self.size = image.shape[-2:]
            return super().forward(image, clicks, prev_mask)

    network = Noting()
    evaluate_objects(network, {"A": Large(1)}, PROTOCOL)
    assert network.size == (60, 60)


def test_picture_sheet(tmp_path):
    picture_sheet(Drawn(4), Analytic(), tmp_path / "sheet.png", count=4, clicks=3, protocol=PROTOCOL)
    import cv2

    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] > sheet.shape[0] > 100 and np.std(sheet) > 10


def test_results_have_a_schema_number(tmp_path):
    evaluate_objects(Analytic(), {"A": Drawn(1)}, PROTOCOL, output=tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["schema"] == SCHEMA
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, "results of other data: object 0 of A was other"),
        ({"object": 7}, r"results of other data: object 0 of A was drawn0 \(object 7\)"),
        ({"seconds": "long"}, "seconds is 'long', expected a number"),
        ({"ious": ["x"]}, "ious is .*expected a list, a number in each place"),
        ({"clicks": [[1, 2]]}, "clicks is"),
        ({"index": "0"}, "index is '0', expected a whole number"),
        ({"checksum": "abc"}, "checksum 'abc'"),
        ({"colour": 1}, "unknown fields colour"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_in_one_line(tmp_path, change, words):
    evaluate_objects(Analytic(), {"A": Drawn(1)}, PROTOCOL, output=tmp_path)
    header, row = (tmp_path / JOURNAL).read_text().splitlines()
    (tmp_path / JOURNAL).write_text(f"{header}\n{json.dumps(json.loads(row) | change)}\n")
    with pytest.raises(ValueError, match=words) as caught:
        evaluate_objects(Analytic(), {"A": Drawn(1)}, PROTOCOL, output=tmp_path)
    assert "\n" not in str(caught.value)


def test_the_second_writer_of_a_folder_is_told_so(tmp_path):
    first = Journal(tmp_path / JOURNAL, {"a": 1})
    with pytest.raises(ValueError, match="another evaluation is writing there"):
        Journal(tmp_path / JOURNAL, {"a": 1})
    first.close()
    Journal(tmp_path / JOURNAL, {"a": 1}).close()


def full_result(index, clicks=3):
    return ObjectResult(
        index, f"image{index}", 5, [(1, 2, 1)] * clicks, [0.5] * clicks, 1.5, [0.25] * clicks, 2,
        [[7, 8], [9], []][:clicks], 0.75, 0.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    "results",
    [
        [],
        [full_result(0)],
        [full_result(0, 1), full_result(1), ObjectResult(2, "image2", 1, [(0, 0, 0)], [0.125], 1.0)],
    ],
)
def test_every_field_survives_tensors_and_journal(results):
    sizes = {"clicks": 4, "passes": 2}
    tensors = to_tensors(results, sizes)
    assert all(len(values) == len(results) for values in tensors.values())
    assert from_tensors(tensors, {n: f"image{n}" for n in range(3)}) == results
    rows = [json.loads(json.dumps(journal_row(result))) for result in results]
    assert [from_journal(row) for row in rows] == results
