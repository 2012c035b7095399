"""The `clicklab` command as a user meets it: results, resuming, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import shutil

import cv2
import numpy as np
import pytest
import torch

import clicklab
from clicklab.commands.main import main
from clicklab.methods.simpleclick import SimpleClickNet
from data_modules.datasets import Shapes
from data_modules.tools.export_shapes import export_scenes

OPTIONS = {"image_size": 64, "patch_size": 8}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small untrained network in our format."""
    torch.manual_seed(0)
    network = SimpleClickNet.from_variant("mini", **OPTIONS)
    path = tmp_path_factory.mktemp("weights") / "mini.ckpt"
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save(
        {
            "clicklab_method": "simpleclick",
            "hyper_parameters": {"variant": "mini", "network_options": OPTIONS},
            "state_dict": state,
        },
        path,
    )
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images and masks, the dataset `Folder`."""
    folder = tmp_path_factory.mktemp("photos")
    export_scenes(Shapes(length=4, size=64), folder, "folder")
    return folder


def evaluate(checkpoint, folder, output, *more):
    return main(["evaluate", str(checkpoint), "--data", f"Folder={folder}", "--output", str(output), *more])


def test_evaluate_writes_the_record_that_the_readme_promises(checkpoint, photos, tmp_path, capsys):
    assert (
        evaluate(checkpoint, photos, tmp_path, "--limit", "3", "--max-clicks", "4", "--thresholds", "0.8", "0.9") == 0
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"]["max_clicks"] == 4
    record = results["datasets"]["Folder"]
    assert set(record["noc"]) == {"80", "90"}
    assert len(record["objects"]) == 3
    for row in record["objects"]:
        assert len(row["clicks"]) == len(row["ious"]) <= 4
        assert all(label in (0, 1) for _, _, label in row["clicks"])
    for name in ("table.txt", "curve.png", "results.csv"):
        assert (tmp_path / name).stat().st_size > 0
    assert "NoC@80" in capsys.readouterr().out


def test_evaluate_goes_on_where_it_stopped(checkpoint, photos, tmp_path):
    assert evaluate(checkpoint, photos, tmp_path, "--limit", "2", "--max-clicks", "3") == 0
    journal = tmp_path / "progress.jsonl"
    before = journal.read_text()
    assert evaluate(checkpoint, photos, tmp_path, "--max-clicks", "3") == 0
    assert journal.read_text().startswith(before)
    assert len(json.loads((tmp_path / "results.json").read_text())["datasets"]["Folder"]["objects"]) > 2


def test_python_and_command_line_agree(checkpoint, photos, tmp_path):
    assert evaluate(checkpoint, photos, tmp_path, "--limit", "2", "--max-clicks", "3", "--device", "cpu") == 0
    written = json.loads((tmp_path / "results.json").read_text())["datasets"]["Folder"]["objects"]
    direct = clicklab.evaluate(clicklab.load(checkpoint), {"Folder": photos}, limit=2, max_clicks=3)
    assert [row["clicks"] for row in written] == [
        [list(click) for click in row["clicks"]] for row in direct["datasets"]["Folder"]["objects"]
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "nowhere.ckpt", "--data", "Folder=PHOTOS", "--output", "OUT"], ["nowhere.ckpt"]),
        (["evaluate", "CKPT", "--data", "GrabCat=PHOTOS", "--output", "OUT"], ["GrabCat", "GrabCut"]),
        (["evaluate", "CKPT", "--data", "GrabCut=PHOTOS", "--output", "OUT"], ["data_GT", "missing"]),
        (["evaluate", "CKPT", "--data", "PHOTOS", "--output", "OUT"], ["NAME=FOLDER"]),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS", "--output", "OUT", "--max-clicks", "0"], ["max_clicks"]),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS", "--output", "OUT", "--limit", "0"], ["limit"]),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS", "--output", "OUT", "--zoom-size", "60"], ["60"]),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS", "--output", "OUT", "--device", "gpu"], ["--device gpu"]),
        (
            ["evaluate", "CKPT", "--data", "Folder=a", "--data", "Folder=b", "--output", "OUT"],
            ["Folder is given twice"],
        ),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS?king=ids", "--output", "OUT"], ["'king'", "kind"]),
        (["data", "show", "GrabCut=PHOTOS", "--split", "test"], ["GrabCut has no option 'split'"]),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS?kind=[", "--output", "OUT"], ["kind is '['"]),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS?ignore_value=no", "--output", "OUT"], ["ignore_value"]),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS", "--output", "CKPT"], ["mini.ckpt"]),
        (["evaluate", "CKPT", "--data", "Folder=PHOTOS", "--output", "CKPT/x"], ["mini.ckpt"]),
        (["convert", "nowhere.pth", "OUT"], ["nowhere.pth"]),
        (["convert", "CKPT", "PHOTOS"], ["a folder"]),
        (["convert", "CKPT", "/proc/new.pth"], ["/proc/new.pth"]),
        (
            ["evaluate", "CKPT", "--method", "piclick", "--data", "Folder=PHOTOS", "--output", "OUT"],
            ["mini.ckpt: a checkpoint of simpleclick, read as one of piclick: "],
        ),
    ],
)
def test_a_mistake_ends_in_one_line_that_names_it(arguments, words, checkpoint, photos, tmp_path, capsys):
    places = {"CKPT": str(checkpoint), "PHOTOS": str(photos), "OUT": str(tmp_path / "out")}
    filled = []
    for argument in arguments:
        for name, place in places.items():
            argument = argument.replace(name, place)
        filled.append(argument)
    assert main(filled) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]  # a progress bar may stand above
    assert said.startswith("clicklab: error: ")
    assert all(word in said for word in words), said


def test_options_of_a_reader_stand_behind_its_folder(checkpoint, tmp_path, capsys):
    """Soft edges leave open what the values of a mask mean: without a word everything is skipped, and said to be."""
    for folder in ("images", "masks"):
        (tmp_path / "soft" / folder).mkdir(parents=True)
    for number in range(2):
        scene = Shapes(length=2, size=64)[number]
        mask = (scene.mask(next(iter(scene.objects))) == 1).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "soft" / "images" / f"{number}.png"), scene.image)
        cv2.imwrite(str(tmp_path / "soft" / "masks" / f"{number}.png"), cv2.blur(mask, (3, 3)))
    few = ("--max-clicks", "2", "--limit", "2")
    assert evaluate(checkpoint, tmp_path / "soft", tmp_path / "a", *few) == 1
    assert "kind=binary if all are one" in capsys.readouterr().out
    assert evaluate(checkpoint, f"{tmp_path / 'soft'}?kind=binary", tmp_path / "b", *few) == 0
    assert json.loads((tmp_path / "b" / "results.json").read_text())["data"]["Folder"]["kind"] == "binary"
    assert main(["data", "check", f"Folder={tmp_path / 'soft'}?kind=binary"]) == 0


def test_names_that_are_no_text_are_told_as_they_are(checkpoint, photos, tmp_path, capsysbinary):
    """A broken file called caf\\xe9.png: its name stands in the table, in what is printed and in the report."""
    odd = tmp_path / "odd"
    shutil.copytree(photos, odd)
    name = os.fsdecode(b"caf\xe9.png")
    (odd / "images" / name).write_bytes(b"no image")
    shutil.copy(next((odd / "masks").rglob("*.png")), odd / "masks" / name)
    assert evaluate(checkpoint, odd, tmp_path / "out", "--max-clicks", "1") == 0
    assert b"caf\xe9.png: not a readable image" in capsysbinary.readouterr().out
    assert b"caf\xe9.png: not a readable image" in (tmp_path / "out" / "table.txt").read_bytes()
    assert (tmp_path / "out" / "curve.png").exists()
    assert main(["data", "check", f"Folder={odd}"]) == 1
    assert b"broken: " in capsysbinary.readouterr().out


def test_evaluation_leaves_the_mode_of_a_network_alone(checkpoint, photos):
    network = clicklab.load(checkpoint).train()
    clicklab.evaluate(network, {"Folder": photos}, limit=1, max_clicks=2)
    assert network.training


def test_a_network_that_has_diverged_is_not_measured(checkpoint, photos):
    network = clicklab.load(checkpoint)
    for parameter in network.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or Inf; the network's weights are broken"):
        clicklab.evaluate(network, {"Folder": photos}, limit=1, max_clicks=2)


def test_convert_gives_a_file_with_the_same_answers(checkpoint, tmp_path):
    assert main(["convert", str(checkpoint), str(tmp_path / "plain.ckpt")]) == 0
    image, clicks = torch.rand(1, 3, 64, 64), clicklab.Clicks.from_list([[(20, 30, True)]])
    answers = [
        clicklab.load(path)(image, clicks, torch.zeros(1, 1, 64, 64)).logits
        for path in (checkpoint, tmp_path / "plain.ckpt")
    ]
    assert torch.equal(*answers)


def test_check_reports_counts(photos, capsys):
    assert main(["data", "check", f"Folder={photos}"]) == 0
    assert "4 images" in capsys.readouterr().out
    assert main(["data", "check", "Folder=nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_training_commands_have_a_short_and_a_complete_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert "--help-all" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([command, "--help-all"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "--trainer.precision" in said
    assert "--config" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--config", "x"], "did you mean `clicklab fit`?"),
        (["eval"], "did you mean `clicklab evaluate`?"),
        (["evalute"], "did you mean `clicklab evaluate`?"),
        (["sing"], "Commands: fit, "),
        (["evaluate", "x"], "--data, --output; see clicklab evaluate --help"),
        (
            ["evaluate", "x", "--data", "a=b", "--output", "c", "--max-clicks", "many"],
            "'many'; see clicklab evaluate --help",
        ),
        (["demo", "--steps", "0"], "--steps 0: nothing would be trained; give 1 or more"),
    ],
)
def test_words_from_habit_and_wrong_arguments_end_in_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("clicklab: error: ") and said in line
    assert len(line) - len("clicklab: error: ") <= 200
