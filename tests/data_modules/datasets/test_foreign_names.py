"""Names and numbers inside annotation files: they stay inside the folder, fit their types, and find their image."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from data_modules.coco_lvis.build import import_hannotation
from data_modules.datasets import DATASETS, open_dataset
from data_modules.datasets.coco import COCO
from data_modules.datasets.lvis import LVIS
from data_modules.datasets.sbd import SBD, read_instances
from data_modules.datasets.shapes import Shapes
from data_modules.datasets.voc import PascalVOC
from data_modules.scenes import BrokenScene, EvaluationObjects, SkippedObject
from data_modules.tools.dataset_spec import dataset_spec
from data_modules.tools.export_shapes import export_scenes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OUTSIDE = ["../up.jpg", "/etc/up.jpg", "a/../../up.jpg", "..\\up.jpg", "\\up.jpg", "", ".."]


def json_set(folder, images, annotations=None, size=(60, 80)):
    """A json file with one square per image, and one gray photograph per file name (its number is its brightness)."""
    notes = annotations or [
        {"id": number, "image_id": image["id"], "segmentation": [[20, 10, 50, 10, 50, 30, 20, 30]], "iscrowd": 0}
        for number, image in enumerate(images, start=1)
    ]
    entries = [{"height": size[0], "width": size[1]} | image for image in images]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ann.json"
    path.write_text(json.dumps({"images": entries, "annotations": notes, "categories": []}))
    return path


def photo(path, value, size=(60, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    path = json_set(tmp_path, [{"id": 7, "file_name": name}])
    for reader in (COCO, LVIS):
        with pytest.raises(ValueError, match=r"ann\.json: the file of image 7 is"):
            reader(tmp_path, split="x", annotations=path, images=tmp_path)


@pytest.mark.parametrize("name", OUTSIDE[:3])
def test_lists_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    for layout, listed, reader in (("sbd", "val.txt", SBD), ("voc", "ImageSets/Segmentation/val.txt", PascalVOC)):
        export_scenes(Shapes(length=1), tmp_path / layout, layout, split="val")
        with (tmp_path / layout / listed).open("a") as file:
            file.write(f"{name}\n")
        with pytest.raises(ValueError, match=r"val\.txt: name 2 is"):
            reader(tmp_path / layout)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_lists_that_are_no_utf8_are_named(tmp_path, encoding):
    for layout, listed, reader in (("sbd", "val.txt", SBD), ("voc", "ImageSets/Segmentation/val.txt", PascalVOC)):
        export_scenes(Shapes(length=1), tmp_path / layout, layout, split="val")
        names = (tmp_path / layout / listed).read_text()
        (tmp_path / layout / listed).write_bytes((names + "größe\n").encode(encoding))
        with pytest.raises(ValueError, match=r"val\.txt: line \d is not UTF-8"):
            reader(tmp_path / layout)
        (tmp_path / layout / listed).write_bytes(names.encode("utf-8-sig"))
        assert reader(tmp_path / layout).names == names.split()


@pytest.mark.parametrize("name", ["../../evil", "a/b", "a\\b", "/tmp/evil"])
def test_an_imported_annotation_writes_nothing_outside(tmp_path, name):
    export_scenes(Shapes(length=1), tmp_path / "in", "coco_lvis")
    index = tmp_path / "in" / "train" / "hannotation.pickle"
    content = pickle.loads(index.read_bytes())  # our own file of a moment ago
    content[name] = content.pop("val_0_000000")
    index.write_bytes(pickle.dumps(content))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"hannotation\.pickle.*name"):
        import_hannotation(tmp_path / "in", tmp_path / "out", progress=False, workers=0)
    assert set(tmp_path.rglob("*")) == before


def test_backslashes_separate_folders(tmp_path):
    photo(tmp_path / "img" / "JPEGImages" / "a.jpg", 50)
    path = json_set(tmp_path, [{"id": 1, "file_name": "JPEGImages\\a.jpg"}])
    for reader in (COCO, LVIS):
        dataset = reader(tmp_path, split="x", annotations=path, images=tmp_path / "img")
        assert (dataset[0].image == 50).all() and dataset.scene_name(0) == "a"


def test_every_lvis_annotation_lies_on_its_own_photo(tmp_path):
    """Only twelve digits are a COCO name: `my_photo.jpg` is not `photo.jpg`."""
    names = ["photo.jpg", "my_photo.jpg", "sub/photo.jpg", "000000000009.jpg", "2_000000000009.jpg"]
    for value, name in enumerate(names, start=1):
        photo(tmp_path / "img" / name, 20 * value)
    images = [{"id": 10 + value, "file_name": name} for value, name in enumerate(names, start=1)]
    images.append({"id": 9})  # COCO's name of the number
    images.append({"id": 8, "file_name": "COCO_val2014_000000000009.jpg"})
    images.append({"id": 7, "coco_url": "http://images.cocodataset.org/val2017/000000000009.jpg"})
    images.append({"id": 6, "file_name": "my_photo.jpg", "coco_url": "https://my.site/x/photo.jpg"})
    path = json_set(tmp_path, images)
    dataset = LVIS(tmp_path, split="x", annotations=path, images=tmp_path / "img")
    seen = [int(dataset[index].image[0, 0, 0]) for index in range(len(images))]
    assert seen == [20, 40, 60, 80, 100, 80, 80, 80, 40]


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ({"size": [80, 60], "counts": [0, 4800]}, "rows and columns are swapped"),
        ({"size": [60, 80], "counts": [10, 20]}, "add up to 30 pixels"),
        ({"size": [60, 80], "counts": [10.5, 4789.5]}, "not whole numbers"),
        ({"size": [60, 80], "counts": [4900, -100]}, "negative"),
        ({"size": [60, 80], "counts": [10**30]}, "add up to"),
        ({"size": [60, 80], "counts": "zz"}, "compressed run lengths"),
        ({"size": [10**20, 80], "counts": "0"}, "run lengths for"),
        ([[1, 2, 3, float("inf"), 5, 6]], "not finite"),
        ([[500, 500, 510, 500, 510, 510]], "covers no pixel"),
    ],
)
def test_what_cannot_be_drawn_keeps_its_reason(tmp_path, segmentation, reason):
    from data_modules.tools.check import check

    photo(tmp_path / "a.jpg", 9)
    notes = [{"id": 1, "image_id": 1, "segmentation": segmentation}]
    path = json_set(tmp_path, [{"id": 1, "file_name": "a.jpg"}], notes)
    options = {"split": "x", "annotations": str(path), "images": str(tmp_path)}
    dataset = open_dataset("COCO", tmp_path, **options)
    (item,) = list(EvaluationObjects(dataset))
    assert isinstance(item, SkippedObject) and reason in item.reason and len(item.reason) <= 200
    assert f"object 1: {item.reason}" in str(check("COCO", tmp_path, **options))


def test_sizes_before_an_exif_turn_are_explained(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (80, 60), (9, 9, 9)).save(tmp_path / "e.jpg", exif=exif)
    for size, broken in (((60, 80), True), ((80, 60), False)):
        path = json_set(tmp_path, [{"id": 1, "file_name": "e.jpg"}], size=size)
        dataset = COCO(tmp_path, split="x", annotations=path, images=tmp_path)
        if broken:
            with pytest.raises(BrokenScene, match=r"e\.jpg.*EXIF tag turns it; exif=ignore"):
                dataset[0]
        options = {"split": "x", "annotations": path, "images": tmp_path, "exif": "ignore" if broken else "turn"}
        assert open_dataset("COCO", tmp_path, **options)[0].image.shape[:2] == size


@pytest.mark.parametrize("key", ["id", "height"])
@pytest.mark.parametrize("value", [10**30, -(10**30), float("inf"), float("nan"), "x", None, [1]])
def test_huge_or_odd_numbers_in_json_are_named(tmp_path, key, value):
    path = json_set(tmp_path, [{"id": 1, "file_name": "a.jpg"} | {key: value}])
    with pytest.raises(ValueError, match=r"ann\.json") as error:
        COCO(tmp_path, split="x", annotations=path, images=tmp_path)
    assert len(str(error.value).replace(str(tmp_path), "")) <= 200


def test_a_number_of_thousands_of_digits_is_named(tmp_path):
    path = json_set(tmp_path, [{"id": 1, "file_name": "a.jpg"}])
    path.write_text(path.read_text().replace('"id": 1,', f'"id": {"9" * 5000},'))
    with pytest.raises(ValueError, match=r"ann\.json: broken json"):
        COCO(tmp_path, split="x", annotations=path, images=tmp_path)


@pytest.mark.parametrize("kind", ["uint32", "float64", "int64"])
def test_huge_ids_of_matlab_files_are_numbered(tmp_path, kind):
    labels = np.zeros((6, 9), kind)
    labels[:, :3], labels[:, 3:6] = 2**31 + 5, 7
    savemat(tmp_path / "a.mat", {"GTinst": {"Segmentation": labels, "Boundaries": 0, "Categories": 1}})
    assert read_instances(tmp_path / "a.mat").tolist() == [[2] * 3 + [1] * 3 + [0] * 3] * 6
    labels = labels.astype(np.float64) + 0.5
    savemat(tmp_path / "a.mat", {"GTinst": {"Segmentation": labels, "Boundaries": 0, "Categories": 1}})
    with pytest.raises(BrokenScene, match=r"a\.mat: its label map holds numbers that are not whole"):
        read_instances(tmp_path / "a.mat")


def test_an_inflated_matlab_file_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("data_modules.formats.mat_files.LARGEST_VARIABLE", 10_000)
    savemat(tmp_path / "a.mat", {"GTinst": {"Segmentation": np.zeros((300, 300), np.uint8)}}, do_compression=True)
    with pytest.raises(BrokenScene, match=r"a\.mat: a variable of more than 10000 bytes"):
        read_instances(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("Folder", {"ignore_value": "abc"}, "Folder: ignore_value is 'abc'; give a whole number or null"),
        ("Folder", {"threshold": "half"}, "threshold is 'half'; give a number or null"),
        ("Folder", {"negatives": 3}, "negatives is 3; give true or false"),
        ("Folder", {"exif": "maybe"}, "exif is 'maybe'; give turn or ignore"),
        ("Shapes", {"length": "ten"}, "length is 'ten'; give a whole number"),
        ("Shapes", {"length": True}, "length is True"),
        ("Shapes", {"size": [1, 2, 3]}, "size is"),
        ("ssTEM", {"connectivity": "8"}, "connectivity is '8'"),
        ("SBD", {"min_fill": "x"}, "min_fill is 'x'; give a number or null"),
        ("BSDS500", {"include_benchmark_images": 1}, "true or false"),
        ("COCO", {"crowds": "yes"}, "crowds is 'yes'; give true or false"),
    ],
)
def test_options_of_a_wrong_type_name_the_option(tmp_path, name, options, told):
    with pytest.raises(ValueError) as error:
        open_dataset(name, tmp_path, **options)
    assert told in str(error.value)


def test_options_on_a_command_line_keep_text_as_it_is():
    """YAML reads no, 2017 and 1e3 as something else."""
    words = "split=2017&images=no&masks=1e3&ignore_value=255&stretch=true&smallest=0"
    _, _, options = dataset_spec(f"Folder=/nowhere?{words}")
    assert options == {
        "split": "2017",
        "images": "no",
        "masks": "1e3",
        "ignore_value": 255,
        "stretch": True,
        "smallest": 0,
    }


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"Shapes"}))
def test_every_reader_takes_the_options_of_image_files(tmp_path, name):
    with pytest.raises(FileNotFoundError):
        open_dataset(name, tmp_path / "none", stretch=True, page=0, exif="ignore", alpha="white", max_pixels=10**9)
