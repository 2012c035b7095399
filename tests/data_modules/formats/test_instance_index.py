"""The json stream and the index of annotation files, against the json module and on damaged files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data_modules.formats import json_stream
from data_modules.formats.instance_index import name_from_url, read_instance_index
from data_modules.formats.json_stream import stream_entries
from data_modules.scenes import BrokenScene

SQUARE = [[1, 1, 9, 1, 9, 9, 1, 9]]


def image(number, **changes):
    return {"id": number, "height": 20, "width": 30, "file_name": f"{number:012d}.jpg"} | changes


def annotation(number, image_id, **changes):
    return {"id": number, "image_id": image_id, "iscrowd": 0, "segmentation": SQUARE} | changes


def written(path, images, annotations, **more):
    content = {"info": {"year": 2017}, "images": images, "annotations": annotations, **more}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("window", [1, 2, 7, 64, 1 << 22])
@pytest.mark.parametrize("indent", [None, 1])
def test_entries_and_byte_ranges_at_any_window_size(tmp_path, monkeypatch, window, indent):
    monkeypatch.setattr(json_stream, "WINDOW", window)
    rng = np.random.default_rng(0)
    content = {
        "number": 1234567,
        "images": [{"id": i, "name": 'ö"]}\\', "x": [1.5e-3, -2, None, True]} for i in range(5)],
        "licenses": [],
        "annotations": [{"id": i, "v": rng.random(i).tolist(), "s": "a" * 90} for i in range(20)],
        "last": 12.25,
    }
    path = tmp_path / "a.json"
    for ascii_only in (True, False):
        path.write_text("\n " + json.dumps(content, indent=indent, ensure_ascii=ascii_only) + "\n", encoding="utf-8")
        raw = path.read_bytes()
        entries = list(stream_entries(path, ("annotations", "images")))
        assert [entry.section for entry in entries] == ["images"] * 5 + ["annotations"] * 20
        assert [json.loads(raw[entry.start : entry.stop]) for entry in entries] == [
            *content["images"],
            *content["annotations"],
        ]


@pytest.mark.parametrize("window", [16, 1 << 22])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path, monkeypatch, window):
    monkeypatch.setattr(json_stream, "WINDOW", window)
    path = written(tmp_path / "cut.json", [image(1)], [annotation(7, 1)])
    raw = path.read_bytes()
    for length in range(0, len(raw) - 1, 3):
        path.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=r"cut\.json"):
            read_instance_index(path)
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match="ends in the middle"):
        read_instance_index(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"images": [{"id": 1,, }], "annotations": []}', "broken json"),
        ('{"images": [], "annotations": [' + '{"image_id": 1} ' * 200 + "]}", "should stand"),
        ("[1, 2]", "not a COCO or LVIS"),
        ("<html>", "not a COCO or LVIS"),
        ('{"info": {}}', "no list 'images'"),
        ('{"images": {}, "annotations": []}', "should stand"),
        ('{"images": [], "annotations": []}', "lists no images"),
        ('{"images": [{"id": 1}], "annotations": []}', "usable id, height"),
        ('{"images": [{"id": 1, "height": 0, "width": 9, "file_name": "a"}], "annotations": []}', "image 1 is 0 x 9"),
        ('{"images": [{"id": 1, "height": 9, "width": 99999, "file_name": "a"}], "annotations": []}', "9 x 99999"),
        ('{"images": ' + "[" * 100000 + "}", "nested too deeply|should stand|broken json|in the middle"),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=words) as error:
        read_instance_index(path)
    assert "other.json" in str(error.value)


def test_annotations_come_by_image_in_file_order(tmp_path):
    rng = np.random.default_rng(3)
    images = [image(int(key), file_name=f"bild_ä{key}.jpg") for key in rng.permutation(40)]
    notes = [annotation(k, int(rng.integers(40)), iscrowd=int(rng.random() < 0.2), n="é") for k in range(200)]
    for order in (("images", "annotations"), ("annotations", "images")):
        lists = {"images": images, "annotations": notes}
        path = tmp_path / "a.json"
        path.write_text(json.dumps({key: lists[key] for key in order}, ensure_ascii=False), encoding="utf-8")
        index = read_instance_index(path)
        assert len(index) == 40 and not index.problems
        for at, entry in enumerate(images):
            expected = [note for note in notes if note["image_id"] == entry["id"]]
            assert index.annotations(at) == expected
            assert index.annotations(at, crowds=False) == [note for note in expected if not note["iscrowd"]]
            assert index.name(at) == entry["file_name"] and index.size(at) == (20, 30)


def test_what_is_survived_is_named(tmp_path):
    notes = [
        annotation(1, 1),
        annotation(1, 2),
        annotation(3, 99),
        annotation(4, 98),
        annotation(5, 1, segmentation=[[1, 2, 3]]),
        {"id": 6, "segmentation": SQUARE},
        annotation(7, 1, segmentation=None),
    ]
    index = read_instance_index(written(tmp_path / "a.json", [image(1), image(2), image(1)], notes))
    assert [[note["id"] for note in index.annotations(at)] for at in range(2)] == [[1, 5, 7], [1]]
    told = "\n".join(index.problems)
    for words in ("2 annotations of images that are not listed", "image_id 99", "ids given twice", "without image_id"):
        assert words in told
    for words in ("a polygon of 3 numbers, which are not pairs of x and y (id 5)", "is NoneType, neither polygons"):
        assert words in told
    assert all("a.json" in line for line in index.problems)


def test_two_different_images_with_one_id_are_refused(tmp_path):
    path = written(tmp_path / "a.json", [image(1), image(1, file_name="other.jpg")], [annotation(1, 1)])
    with pytest.raises(ValueError, match=r"two different images have the id 1 .*other\.jpg"):
        read_instance_index(path)


def test_a_file_that_changes_or_vanishes_is_noticed(tmp_path):
    path = written(tmp_path / "a.json", [image(1), image(2)], [annotation(1, 1), annotation(2, 2)])
    index = read_instance_index(path)
    written(path, [image(1), image(2)], [annotation(1, 2), annotation(2, 1)])
    with pytest.raises(BrokenScene, match=r"a\.json: changed"):
        index.annotations(0)
    path.unlink()
    with pytest.raises(BrokenScene, match=r"a\.json: changed or removed"):
        index.annotations(0)


def test_names_of_lvis_images_tell_the_folder():
    url = "http://images.cocodataset.org/train2017/000000000009.jpg"
    assert name_from_url({"coco_url": url}) == "train2017/000000000009.jpg"
    assert name_from_url({"file_name": "COCO_val2014_000000266409.jpg"}) == "000000266409.jpg"


def test_the_index_is_small(tmp_path):
    images, notes = [image(key) for key in range(500)], [annotation(key, key % 500) for key in range(5000)]
    index = read_instance_index(written(tmp_path / "a.json", images, notes))
    assert index.memory() < 5000 * 13 + 500 * 60


def test_ids_that_a_table_wrote_as_floats_are_whole_numbers(tmp_path):
    image = {"height": 4, "width": 5, "file_name": "a.jpg"}
    rows = [{"id": 1, "image_id": 7.0, "segmentation": [[0, 0, 3, 0, 3, 3]]}]
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"images": [image | {"id": 7.0}], "annotations": rows}))
    index = read_instance_index(path)
    assert len(index.annotations(0)) == 1 and not index.problems
    path.write_text(json.dumps({"images": [image | {"id": 7.5}], "annotations": rows}))
    with pytest.raises(ValueError, match=r"x\.json: an image without usable id"):
        read_instance_index(path)
