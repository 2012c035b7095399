"""`evaluate --clicks`: what people clicked, exported by the annotator and replayed on any network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toys import Analytic

import clicklab
from clicklab.annotate import masks
from clicklab.annotate.events import Event
from clicklab.annotate.exports import export
from clicklab.annotate.store import Store
from clicklab.commands.main import main
from clicklab.visualize.replay import iou
from data_modules.datasets import Shapes, open_dataset
from data_modules.recorded_dialogues import read_dialogues
from data_modules.scenes import EvaluationObjects
from data_modules.tools.export_shapes import export_scenes

CLICKS = 3


def clicks_on(target: np.ndarray, seed: int) -> list[tuple[int, int, bool]]:
    """Two clicks on an object and one beside it."""
    generator = np.random.default_rng(seed)
    inside = generator.permutation(np.argwhere(target == 1))[:2]
    outside = generator.permutation(np.argwhere(target == 0))[:1]
    return [(int(y), int(x), place < 2) for place, (y, x) in enumerate([*inside, *outside])]


@pytest.fixture
def recorded(tmp_path) -> tuple[Path, Path]:
    """A folder of photos with true masks, and what somebody clicked on them, as the annotator exports it."""
    export_scenes(Shapes(length=3, size=(60, 80), split="val"), tmp_path / "photos", "folder")
    objects = EvaluationObjects(open_dataset("Folder", tmp_path / "photos"))
    store = Store(tmp_path / "store")
    names = sorted({item.name for item in map(objects.__getitem__, range(len(objects)))})
    store.set_photos([f"{name}.png" for name in names])
    photos = {Path(photo.path).stem: photo for photo in store.photos()}
    kind = store.add_class("thing")
    for number in reversed(range(len(objects))):  # people work in an order of their own
        item = objects[number]
        photo = photos[item.name]
        store.set_content(photo.id, "0" * 32, item.target.shape[1], item.target.shape[0])
        annotated = store.add_object(photo.id, kind, f"object-{number}")
        final = masks.encode(np.roll(item.target == 1, 1, axis=1))["counts"]  # not quite the true mask
        for place, (y, x, positive) in enumerate(clicks_on(item.target, number)):
            click = Event(f"{number}-{place}", "click", y, x, positive, {}, final, 1000.0 + place, "net", 0.1, "Anna")
            store.append(annotated.id, click, place)
    export(store, "clicks", tmp_path / "export")
    store.close()
    return tmp_path / "photos", tmp_path / "export" / "clicks.json"


def test_every_dialogue_is_answered_as_in_a_session_on_the_object_it_was_about(recorded):
    photos, file = recorded
    network = Analytic()
    results = clicklab.evaluate(network, {"Folder": photos}, clicks=file, target_iou=1.01)
    objects = EvaluationObjects(open_dataset("Folder", photos))
    items = {(item.name, item.object): (number, item) for number, item in enumerate(objects)}
    rows = results["datasets"]["Folder"]["objects"]
    assert {(row["name"], row["object"]) for row in rows} == set(items) and len(rows) == len(items)
    options = clicklab.InferenceOptions(preset="official")
    for row in rows:
        number, item = items[row["name"], row["object"]]
        session = clicklab.Session(network, options)
        session.set_image(item.image)
        wanted = clicks_on(item.target, number)
        assert [(y, x, bool(label)) for y, x, label in row["clicks"]] == wanted
        assert [iou(session.add_click(*click), item.target) for click in wanted] == pytest.approx(row["ious"])


def test_the_command_replays_goes_on_and_shows_the_worst(recorded, tmp_path, capsys):
    photos, file = recorded
    words = [
        "evaluate",
        "toys:Analytic",
        "--data",
        f"Folder={photos}",
        "--clicks",
        str(file),
        "--output",
        str(tmp_path / "run"),
    ]
    assert main([*words, "--pictures", "worst:2"]) == 0
    first = (tmp_path / "run" / "results.json").read_text()
    record = json.loads(first)
    assert record["protocol"]["recorded_clicks"].startswith("clicks.json:")
    assert all(len(row["clicks"]) <= CLICKS for row in record["datasets"]["Folder"]["objects"])
    assert (tmp_path / "run" / "pictures" / "worst-01.png").is_file()
    assert "note:" not in capsys.readouterr().out  # every object was found again
    assert (
        main(words) == 0
        and json.loads((tmp_path / "run" / "results.json").read_text())["datasets"] == record["datasets"]
    )
    changed = json.loads(file.read_text())
    changed["dialogues"][0]["clicks"].pop()
    file.write_text(json.dumps(changed))
    assert main(words) == 2 and "recorded_clicks" in capsys.readouterr().err  # other clicks, another result


def test_dialogues_that_began_from_a_mask_are_played_from_it_when_asked_for(recorded):
    photos, file = recorded
    record = json.loads(file.read_text())
    record["dialogues"][0]["start"] = record["dialogues"][0]["mask"]
    file.write_text(json.dumps(record))
    usual = clicklab.evaluate(Analytic(), {"Folder": photos}, clicks=file)["datasets"]["Folder"]
    started = clicklab.evaluate(Analytic(), {"Folder": photos}, clicks=file, initial_masks=True)["datasets"]["Folder"]
    assert [one["index"] for one in usual["skipped"]] == [0] and "--initial-masks" in usual["skipped"][0]["reason"]
    assert [row["index"] for row in started["objects"]] == [0] and started["objects"][0]["initial_iou"] > 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not json"),
        ('{"format": "other"}', "holds no dialogues"),
        ('{"format": "clicklab-clicks", "dialogues": [{"image": "a.png"}]}', "'size' is missing"),
        (
            '{"format": "clicklab-clicks", "dialogues": [{"image": "a", "size": [4, 5], "clicks": [[9, 0, true]]}]}',
            "outside the photo",
        ),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path, text, said):
    file = tmp_path / "clicks.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_dialogues(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_clicks_on_other_photos_are_refused(recorded, tmp_path):
    _, file = recorded
    others = Shapes(length=1, size=(60, 80))
    file.write_text(file.read_text().replace(".png", "-other.png"))
    with pytest.raises(ValueError, match=r"none of the .* dialogues .* is on an image of Shapes"):
        clicklab.evaluate(Analytic(), {"Shapes": others}, clicks=file)
