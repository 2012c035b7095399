"""`clicklab report`: one page that asks for nothing else, looked at by a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import matplotlib.image
import numpy as np
import pytest
import torch
from runs import results_of, write_run

from clicklab.commands.main import main
from clicklab.methods.simpleclick import SimpleClickNet
from clicklab.visualize.report_data import parted_objects, worst_objects
from clicklab.visualize.results_file import read_run
from data_modules.datasets import Shapes
from data_modules.tools.export_shapes import export_scenes

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two evaluations of small untrained networks on the same photos, and the folder of it all."""
    folder = tmp_path_factory.mktemp("measured")
    export_scenes(Shapes(length=3, size=48), folder / "photos", "folder")
    for seed in (0, 1):
        torch.manual_seed(seed)
        options = {"image_size": 64, "patch_size": 8}
        state = SimpleClickNet.from_variant("mini", **options).state_dict()
        content = {
            "clicklab_method": "simpleclick",
            "hyper_parameters": {"variant": "mini", "network_options": options},
            "state_dict": {f"network.{key}": value for key, value in state.items()},
        }
        torch.save(content, folder / f"net{seed}.ckpt")
        command = ["evaluate", str(folder / f"net{seed}.ckpt"), "--data", f"Folder={folder / 'photos'}"]
        more = ["--output", str(folder / f"run{seed}"), "--max-clicks", "4", "--target-iou", "1.01"]
        assert main([*command, *more, "--zoom-size", "64", "64"]) == 0
    return folder


def content_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def seen(page, tmp_path, script=""):
    """The page as the browser has it after `script`."""
    file = tmp_path / "seen.html"
    file.write_text(page.replace("</body>", f"<script>{script}</script></body>"))
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout


def rows_of(dom):
    body = re.search(r'<table id="table">.*?<tbody>(.*?)</tbody>', dom, re.DOTALL)[1]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]


def test_worst_and_parted_by_hand(tmp_path):
    first = read_run(str(write_run(tmp_path / "one", {"A": [1, 0, 5, 3], "B": [2, 9]})))
    second = read_run(str(write_run(tmp_path / "two", {"A": [1, 0, 1, 20], "B": [2, 8]})))
    worst = [(one.dataset, one.row["name"]) for one in worst_objects(first, 4)]
    assert worst == [("A", "b"), ("B", "b"), ("A", "c"), ("B", "a")]
    parted = [(one.dataset, one.row["name"]) for one in parted_objects(first, second, 9)]
    assert parted == [("A", "d"), ("B", "b"), ("A", "c")]  # equal ones are not shown


def test_the_page_holds_everything_and_asks_for_nothing(measured, tmp_path):
    page_file = tmp_path / "page.html"
    runs = [str(measured / "run0"), "--against", str(measured / "run1")]
    assert main(["report", *runs, "--output", str(page_file)]) == 0
    page = page_file.read_text()
    links = re.findall(r"""(?:src|href|url|action)\s*[=(]\s*["']?([^"'\s)>]+)""", page)
    assert all(link.startswith(("data:", "#", "picture.image", "`#")) for link in links), links
    assert "default-src 'none'" in page and "{{" not in page
    pictures = content_of(page)["pictures"]
    results = json.loads((measured / "run0" / "results.json").read_text())
    assert len(pictures) == len(results["datasets"]["Folder"]["objects"])
    for picture in pictures:
        assert picture["image"].startswith("data:image/jpeg;base64,") and picture["target"].startswith("M")
        for run in picture["runs"]:
            assert len(run["clicks"]) == 4
            assert all((mask != "") == (iou > 0) or mask for *_, iou, mask in run["clicks"])


def test_what_is_missing_is_said_and_the_rest_is_shown(measured, tmp_path, capsys):
    content = json.loads((measured / "run0" / "results.json").read_text())
    content["run"]["source"] = str(tmp_path / "gone.ckpt")
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert main(["report", str(tmp_path)]) == 0
    assert "masks of" in capsys.readouterr().out
    pictures = content_of((tmp_path / "report.html").read_text())["pictures"]
    assert pictures and all(click[4] is None for picture in pictures for click in picture["runs"][0]["clicks"])
    content["data"]["Folder"]["root"] = str(tmp_path / "nowhere")
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert main(["report", str(tmp_path)]) == 0
    assert "--data Folder=FOLDER" in capsys.readouterr().out
    assert not content_of((tmp_path / "report.html").read_text())["pictures"]
    named = ["--data", f"Folder={measured / 'photos'}", "--checkpoint", str(measured / "net0.ckpt")]
    assert main(["report", str(tmp_path), *named]) == 0
    pictures = content_of((tmp_path / "report.html").read_text())["pictures"]
    assert all(click[4] is not None for picture in pictures for click in picture["runs"][0]["clicks"])


def test_wrong_weights_and_folders_end_in_one_line(measured, tmp_path, capsys):
    for more, said in (
        (["--checkpoint", str(measured / "net1.ckpt")], "holds other weights"),
        (["--checkpoint", str(tmp_path / "gone.ckpt")], "gone.ckpt"),
        (["--data", f"Folder={tmp_path / 'nowhere'}"], "nowhere"),
        (["--worst", "-1"], "--worst is -1"),
    ):
        assert main(["report", str(measured / "run0"), *more]) == 2
        captured = capsys.readouterr().err.strip().splitlines()
        assert said in captured[-1] and captured[-1].startswith("clicklab: error"), captured


@browser
def test_a_browser_sorts_filters_and_replays(measured, tmp_path):
    page_file = tmp_path / "page.html"
    assert main(["report", str(measured / "run0"), "--output", str(page_file)]) == 0
    page = page_file.read_text()
    sort_by_last_iou = (
        "[...document.querySelectorAll('#table th button')].find(b => b.textContent === 'last IoU').click();"
    )
    rows = rows_of(seen(page, tmp_path, sort_by_last_iou))
    results = json.loads((measured / "run0" / "results.json").read_text())
    last = sorted((row["ious"][-1] for row in results["datasets"]["Folder"]["objects"]), reverse=True)
    assert [float(row[7]) for row in rows] == pytest.approx(last, abs=6e-4)
    step = "const s = document.querySelector('input[type=range]'); s.value = 2; s.dispatchEvent(new Event('input'));"
    dom = seen(page, tmp_path, step)
    assert "2 of 4" in dom and "click 2, IoU" in dom
    narrow = (
        "const q = document.getElementById('search'); q.value = 'no such image'; q.dispatchEvent(new Event('input'));"
    )
    assert rows_of(seen(page, tmp_path, narrow)) == []


@browser
def test_thousands_of_objects_and_odd_names(tmp_path):
    """As many as SBD has; a name that would end the script is shown as a name."""
    rng = np.random.default_rng(0)
    names = [f"2008_{number:06d}" for number in range(6671)]
    names[7] = "</script><b>bold</b>"
    counts = rng.integers(1, 21, 6671).tolist()
    counts[7] = 0
    (tmp_path / "results.json").write_text(json.dumps(results_of({"SBD": counts}, names=names)))
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert len(page) < 4_000_000
    dom = seen(page, tmp_path)
    rows = rows_of(dom)
    assert "6671 of 6671 objects" in dom and len(rows) == 50 and "page 1 of 134" in dom
    assert rows[0][1] == "&lt;/script&gt;&lt;b&gt;bold&lt;/b&gt;" and rows[0][4] == "never"


def test_evaluate_draws_the_worst_objects(measured, tmp_path, capsys):
    command = ["evaluate", str(measured / "net0.ckpt"), "--data", f"Folder={measured / 'photos'}", "--max-clicks", "9"]
    assert main([*command, "--output", str(tmp_path / "run"), "--limit", "2", "--pictures", "worst:2"]) == 0
    assert "1 sheets" in capsys.readouterr().out
    sheet = matplotlib.image.imread(tmp_path / "run" / "pictures" / "worst-01.png")
    assert sheet.shape[1] / sheet.shape[0] == pytest.approx(6 / 2 * 2.4 / 2.7, rel=0.25)  # target and clicks 1 2 3 5 9
    assert (sheet[..., :3] != 1).any(axis=(0, 2)).mean() > 0.9  # hardly an empty column
    assert main([*command, "--output", str(tmp_path / "other"), "--pictures", "best"]) == 2
    assert "expected worst:N" in capsys.readouterr().err
