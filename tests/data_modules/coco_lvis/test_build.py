"""Building COCO+LVIS: a brute-force version on random scenes, known figures on real ones, interruptions."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from slow_hierarchy import box, random_masks, slow_tree

from data_modules.coco_lvis import layered_build
from data_modules.coco_lvis.build import build, import_hannotation
from data_modules.coco_lvis.thresholds import Thresholds
from data_modules.datasets import open_dataset
from data_modules.datasets.shapes import Shapes
from data_modules.formats.hierarchy import tree_levels
from data_modules.formats.layered_store import layered_file, read_index, read_layered
from data_modules.scenes import BrokenScene
from data_modules.tools.arguments import add_actions
from data_modules.tools.export_instances import polygons_of, write_coco, write_lvis
from data_modules.tools.export_shapes import export_scenes

SIZE = (60, 80)
QUIET = {"workers": 0, "progress": False}


def slow_rule(coco, lvis, stuff):
    """The rule of docs/data.md#build-rule on full-size masks: kept masks, how many of them are instances, parents."""
    coco, lvis = ([mask for mask in masks if mask.sum() >= 80] for masks in (coco, lvis))

    def twins(first, second, share):
        (a0, a1, b0, b1), (c0, c1, d0, d1) = box(first), box(second)
        rows = max(0, min(a1, c1) - max(a0, c0) + 1) / (max(a1, c1) - min(a0, c0) + 1)
        columns = max(0, min(b1, d1) - max(b0, d0) + 1) / (max(b1, d1) - min(b0, d0) + 1)
        return rows * columns > 0.70 and (first & second).sum() / (first | second).sum() > share

    kept = [mask for mask in coco if not any(twins(mask, other, 0.70) for other in lvis)]
    kept += [mask for k, mask in enumerate(lvis) if not any(twins(mask, other, 0.85) for other in lvis[k + 1 :])]
    if not kept:
        return [], 0, []
    left = [mask & ~np.any(kept, axis=0) for mask in stuff]
    return [*kept, *(mask for mask in left if mask.sum() > 500)], len(kept), slow_tree(kept)


def random_scene(rng):
    """COCO segments without overlap, LVIS masks that repeat, shrink or split them, and three stuff regions."""
    segments = np.zeros(SIZE, np.int64)
    segments[:] = 200 + cv2.resize(
        rng.integers(0, 3, (2, 3)).astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST
    )
    masks = random_masks(rng, SIZE, int(rng.integers(0, 9)))
    for number, mask in enumerate(masks, start=1):
        segments[mask] = number
    lvis = []
    for mask in masks:
        for shrink in rng.choice(4, int(rng.integers(0, 3))):
            smaller = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=int(shrink)) > 0
            lvis += [smaller] if smaller.any() else []
    return segments, [lvis[k] for k in rng.permutation(len(lvis))]


def write_scenes(root, scenes):
    """COCO panoptic and LVIS files of `random_scene`s. The id of a segment is spread over the three colours."""
    images, notes, segments = [], [], []
    (root / "panoptic").mkdir(parents=True)
    for number, (ids, lvis) in enumerate(scenes, start=1):
        name = f"{number:012d}"
        url = f"http://images.cocodataset.org/train2017/{name}.jpg"
        images.append({"id": number, "height": 60, "width": 80, "file_name": f"{name}.jpg", "coco_url": url})
        spread = ids * 66051  # 1 + 256 * 2 + 65536
        png = np.stack([(spread >> 16) & 255, (spread >> 8) & 255, spread & 255], axis=2).astype(np.uint8)
        cv2.imwrite(str(root / "panoptic" / f"{name}.png"), png)
        listed = [{"id": int(key) * 66051, "category_id": 2 if key >= 200 else 1} for key in np.unique(ids)]
        segments.append({"image_id": number, "file_name": f"{name}.png", "segments_info": listed})
        for mask in lvis:
            notes.append({"id": len(notes), "image_id": number, "segmentation": polygons_of(mask)})
    categories = [{"id": 1, "isthing": 1}, {"id": 2, "isthing": 0}]
    head = {"images": images, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(head | {"annotations": segments}))
    (root / "lvis.json").write_text(json.dumps(head | {"annotations": notes}))


def test_equals_brute_force_on_random_scenes(tmp_path):
    rng = np.random.default_rng(5)
    scenes = [random_scene(rng) for _ in range(80)]
    write_scenes(tmp_path, scenes)
    report = build(tmp_path / "panoptic.json", tmp_path / "lvis.json", tmp_path / "out", **QUIET)
    assert report.ok and not report.problems
    index = read_index(report.folder)
    counts = Counter()
    for number, (ids, lvis) in enumerate(scenes, start=1):
        segments = [ids == key for key in np.unique(ids)]
        stuff = [mask for mask, key in zip(segments, np.unique(ids), strict=True) if key >= 200]
        things = [mask for mask, key in zip(segments, np.unique(ids), strict=True) if key < 200]
        masks, instances, parents = slow_rule(things, lvis, stuff)
        name = f"{number:012d}"
        if not lvis:  # not annotated in both
            assert not layered_file(report.folder, name).exists() and name not in index.names
            continue
        read = read_layered(layered_file(report.folder, name))
        assert len(read.layer) == len(masks) and (~read.stuff).sum() == instances
        for key, mask in enumerate(masks, start=1):
            assert np.array_equal(read.layers[..., read.layer[key - 1]] == key, mask)
        assert read.parent.tolist() == [0 if p is None else p + 1 for p in parents] + [0] * (len(masks) - instances)
        assert not read.stuff[:instances].any()
        assert (name in index.names) == bool(instances)
        counts.update(masks=len(masks), nested=sum(p is not None for p in parents), stuff=len(masks) - instances)
    assert counts["nested"] > 30 and counts["stuff"] > 30


def test_the_real_sample_has_the_figures_of_the_card(shared_data, tmp_path):
    source = shared_data / "LVIS" / "lvis_val_100.json"
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    report = build(lvis=source, output=tmp_path, split="val", **QUIET)
    assert (report.images, report.objects, report.empty, report.problems) == (92, 889, 1, ())
    levels, with_parent, with_children, trees = Counter(), 0, 0, 0
    for name in read_index(report.folder).names:
        parents = read_layered(layered_file(report.folder, name)).parent
        levels.update(tree_levels([None if parent == 0 else int(parent) - 1 for parent in parents]))
        with_parent += np.count_nonzero(parents)
        with_children += len(set(parents[parents > 0]))
        trees += parents.any()
    assert levels == {0: 811, 1: 73, 2: 5}
    assert (with_parent, with_children, trees) == (78, 43, 22)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A COCO folder and an LVIS folder of the same drawn scenes."""
    root = tmp_path_factory.mktemp("raw")
    drawn = Shapes(split="train", length=6, size=(72, 96))
    scenes = [drawn[index] for index in range(6)]
    write_coco(scenes, root / "coco", "val")
    write_lvis(scenes, root / "lvis", "val")
    return root, scenes


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_folders_in_scenes_out(folders, tmp_path):
    root, scenes = folders
    report = build(root / "coco", root / "lvis", tmp_path, "val", **QUIET)
    dataset = open_dataset("COCO_LVIS", tmp_path)  # the images are found where the builder saw them
    assert len(dataset) == 6 and len(dataset.objects()) == report.objects
    stuff = 0
    for index, drawn in enumerate(scenes):
        read = dataset[index]
        masks = {read.mask(key).tobytes() for key in read.objects}
        for key, entry in drawn.objects.items():
            if not entry.stuff and (drawn.mask(key) == 1).sum() >= 80:
                assert drawn.mask(key).tobytes() in masks
        stuff += sum(entry.stuff for entry in read.objects.values())
        assert all(read.objects[key].parent == 0 for key in read.objects if read.objects[key].stuff)
    assert stuff > 0 and len(pickle.dumps(dataset)) < 3000


def test_missing_images_are_said_once_with_their_number(folders, tmp_path):
    """The build needs none of them: it was the training that ended at the first one."""
    root, _ = folders
    report = build(root / "coco", root / "lvis", tmp_path, "val", **QUIET)
    assert report.without_image == ""
    few = tmp_path / "few"
    few.mkdir()
    (few / "000000000003.jpg").touch()
    report = build(root / "coco", root / "lvis", tmp_path, "val", images=few, **QUIET)
    assert f"5 are not in {few}, for example 000000000001.jpg" in str(report) and report.ok
    report = build(None, root / "lvis", tmp_path / "b", "val", **QUIET)
    assert "no folder of them is known" in str(report) and "--images" in str(report)
    (report.folder / "images").mkdir()
    report = build(None, root / "lvis", tmp_path / "b", "val", **QUIET)
    assert f"6 are not in {report.folder / 'images'}" in str(report)


def test_instances_instead_of_panoptic_and_only_one_of_the_two(folders, tmp_path):
    root, _ = folders
    instances = root / "coco" / "annotations" / "instances_val2017.json"
    alone = build(instances, None, tmp_path / "a", "val", **QUIET)
    both = build(instances, root / "lvis", tmp_path / "b", "val", **QUIET)
    lvis = build(None, root / "lvis", tmp_path / "c", "val", **QUIET)
    # the same masks in both files: every COCO mask is repeated by an LVIS mask
    for name in read_index(lvis.folder).names:
        files = [layered_file(report.folder, name).read_bytes() for report in (alone, both, lvis)]
        assert files[0] == files[1] == files[2]
    with pytest.raises(ValueError, match="nothing to build from"):
        build(output=tmp_path)


def test_crowds_of_instances_files(folders, tmp_path):
    root, _ = folders
    note = json.loads((root / "coco" / "annotations" / "instances_val2017.json").read_text())
    crowd = {"size": [72, 96], "counts": [0, 72 * 20, 72 * 76]}
    note["annotations"] = [{"id": 1, "image_id": 2, "iscrowd": 1, "segmentation": crowd}, note["annotations"][0]]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(note))
    assert build(path, output=tmp_path / "a", **QUIET).images == 1
    assert build(path, output=tmp_path / "b", crowds=True, **QUIET).images == 2


def test_thresholds_are_the_callers(folders, tmp_path):
    root, _ = folders
    objects = [
        build(None, root / "lvis", tmp_path / name, "val", thresholds, **QUIET).objects
        for name, thresholds in (("a", None), ("b", Thresholds(min_area=1)), ("c", Thresholds(min_area=2000)))
    ]
    assert objects[1] >= objects[0] > objects[2]
    for wrong in ({"tree_box": 1.2}, {"min_area": -1}, {"lvis_mask": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Thresholds(**wrong)


def test_processes_give_the_same_files(folders, tmp_path):
    root, _ = folders
    build(root / "coco", root / "lvis", tmp_path / "a", "val", **QUIET)
    report = build(root / "coco", root / "lvis", tmp_path / "b", "val", workers=2, progress=False)
    assert content(tmp_path / "a") == content(tmp_path / "b") and report.done_before == 0


def test_an_interrupted_build_goes_on_without_redoing(folders, tmp_path, monkeypatch):
    root, _ = folders
    build(root / "coco", root / "lvis", tmp_path / "whole", "val", **QUIET)
    write, calls = layered_build.write_layered, []

    def write_some(path, ids):
        calls.append(path)
        if len(calls) in (3, 5):
            raise KeyboardInterrupt
        write(path, ids)

    monkeypatch.setattr(layered_build, "write_layered", write_some)
    out = tmp_path / "out"
    for done in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            build(root / "coco", root / "lvis", out, "val", **QUIET)
        assert len(list((out / "val" / "layers").iterdir())) == done
        with pytest.raises(FileNotFoundError, match="not finished"):
            open_dataset("COCO_LVIS", out)
    times = {path: path.stat().st_mtime_ns for path in (out / "val" / "layers").iterdir()}
    report = build(root / "coco", root / "lvis", out, "val", **QUIET)
    assert report.done_before == 3 and len(calls) == 2 + 3 + 3
    assert all(path.stat().st_mtime_ns == moment for path, moment in times.items())
    assert content(out) == content(tmp_path / "whole")


def test_a_killed_build_goes_on(folders, tmp_path):
    root, _ = folders
    build(root / "coco", root / "lvis", tmp_path / "whole", "val", **QUIET)
    slow = (
        "import sys, time\n"
        "from data_modules.formats import layered_store\n"
        "savez = layered_store.np.savez_compressed\n"
        "def slowly(file, **arrays):\n"
        "    file.write(b'half'); file.flush(); time.sleep(0.3); file.seek(0); savez(file, **arrays)\n"
        "layered_store.np.savez_compressed = slowly\n"
        "from data_modules.coco_lvis.build import build\n"
        "build(sys.argv[1], sys.argv[2], sys.argv[3], 'val', workers=0, progress=False)\n"
    )
    paths = [str(root / "coco"), str(root / "lvis"), str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen([sys.executable, "-c", slow, *paths], env=environment)
    layers = tmp_path / "out" / "val" / "layers"
    deadline = time.monotonic() + 60
    while not (list(layers.glob("*.npz")) and list(layers.glob("*.part"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(layers.glob("*.part")), "killed in the middle of a file"
    report = build(*paths, "val", **QUIET)
    assert report.done_before >= 1 and content(tmp_path / "out") == content(tmp_path / "whole")


def test_damaged_results_are_made_again_and_other_settings_refused(folders, tmp_path):
    root, _ = folders
    report = build(None, root / "lvis", tmp_path, "val", **QUIET)
    before = content(tmp_path)
    path = layered_file(report.folder, "000000000003")
    path.write_bytes(path.read_bytes()[:50])
    again = build(None, root / "lvis", tmp_path, "val", **QUIET)
    assert again.done_before == 5 and content(tmp_path) == before
    with pytest.raises(ValueError, match=r"other settings \(thresholds was .*min_area': 80"):
        build(None, root / "lvis", tmp_path, "val", Thresholds(min_area=90), **QUIET)
    with pytest.raises(ValueError, match="other settings"):
        build(root / "coco", root / "lvis", tmp_path, "val", **QUIET)
    assert content(tmp_path) == before


def test_bad_input_is_named_and_survived_or_refused(folders, tmp_path):
    _, scenes = folders
    write_coco(scenes, tmp_path / "coco", "val")
    write_lvis(scenes, tmp_path / "lvis", "val")
    png = tmp_path / "coco" / "annotations" / "panoptic_val2017" / "000000000002.png"
    saved = png.read_bytes()
    png.write_bytes(saved[:100])
    path = tmp_path / "lvis" / "val" / "lvis_v1_val.json"
    lvis = json.loads(path.read_text())
    lvis["images"][3]["height"] = 50
    first = [note for note in lvis["annotations"] if note["image_id"] == 1]
    first[0]["segmentation"] = [[500, 500, 600, 500, 600, 600]]
    lvis["annotations"] += [first[-1] | {"segmentation": [[1, 2, 3]], "id": 7000}, first[-1] | {"image_id": 99}]
    path.write_text(json.dumps(lvis))
    report = build(tmp_path / "coco", tmp_path / "lvis", tmp_path / "out", "val", **QUIET)
    assert not report.ok and set(report.left_out) == {"000000000002", "000000000004"}
    text = str(report)
    for words in (
        "000000000002.png",
        "COCO says (height, width) (72, 96), LVIS says (50, 96)",
        "covers no pixel",
        "7000: a polygon of 3 numbers",
        "image_id 99",
        "ids given twice",
    ):
        assert words in text
    assert len(read_index(report.folder).names) == 4
    png.write_bytes(saved)
    report = build(tmp_path / "coco", tmp_path / "lvis", tmp_path / "out", "val", **QUIET)
    assert set(report.left_out) == {"000000000004"} and report.images == 5
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"lvis_v1_val\.json: the file ends"):
        build(None, tmp_path / "lvis", tmp_path / "other", "val", **QUIET)
    with pytest.raises(FileNotFoundError, match=r"lvis_v1_train\.json"):
        build(None, tmp_path / "lvis", tmp_path / "other", "train", **QUIET)
    with pytest.raises(ValueError, match="train, val"):
        build(None, tmp_path / "lvis", tmp_path / "other", "tarin", **QUIET)
    lvis["images"] = [image | {"coco_url": f"http://x/val2017/{900 + image['id']}.jpg"} for image in lvis["images"]]
    path.write_text(json.dumps(lvis))
    with pytest.raises(ValueError, match="no image in common"):
        build(tmp_path / "coco", tmp_path / "lvis", tmp_path / "other", "val", **QUIET)
    for image in lvis["images"]:
        image["coco_url"] = "http://x/val2017/5.jpg"
    path.write_text(json.dumps(lvis))
    with pytest.raises(ValueError, match="two annotated images have the name '5'"):
        build(None, tmp_path / "lvis", tmp_path / "other", "val", **QUIET)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_released_pickles_are_converted_and_never_run(tmp_path, folders):
    _, scenes = folders
    released = tmp_path / "released"
    export_scenes(scenes, released, "coco_lvis", split="val")
    expected = open_dataset("COCO_LVIS", released)
    report = import_hannotation(released, tmp_path / "ours", "val", **QUIET)
    dataset = open_dataset("COCO_LVIS", tmp_path / "ours")
    assert report.ok and len(dataset) == len(expected) == 6 and dataset.objects() == expected.objects()
    for index in range(6):
        ours, theirs = dataset[index], expected[index]
        assert np.array_equal(ours.layers, theirs.layers) and ours.objects == theirs.objects
        assert ours.name == theirs.name and np.array_equal(ours.image, theirs.image)
    # into the same folder: afterwards ours is read, the released one when it is named
    import_hannotation(released, released, "val", **QUIET)
    assert open_dataset("COCO_LVIS", released)._released is None
    assert open_dataset("COCO_LVIS", released, annotation="hannotation.pickle").objects() == expected.objects()
    trace = tmp_path / "trace"
    bomb = pickle.dumps(Bomb(trace))
    (released / "val" / "masks" / f"{scenes[1].name}.pickle").write_bytes(bomb)
    report = import_hannotation(released, tmp_path / "again", "val", **QUIET)
    assert set(report.left_out) == {scenes[1].name} and "system" in report.left_out[scenes[1].name]
    (released / "val" / "hannotation.pickle").write_bytes(bomb)
    with pytest.raises(BrokenScene, match=r"hannotation\.pickle.*system"):
        import_hannotation(released, tmp_path / "third", "val", **QUIET)
    with pytest.raises(FileNotFoundError, match="train"):
        import_hannotation(released, tmp_path / "third", **QUIET)
    assert not trace.exists()


def test_a_released_tree_that_runs_in_a_circle_is_left_out(tmp_path, folders):
    _, scenes = folders
    export_scenes(scenes[:2], tmp_path, "coco_lvis", split="val")
    path = tmp_path / "val" / "hannotation.pickle"
    index = pickle.loads(path.read_bytes())
    tree = index[scenes[0].name]["hierarchy"]
    tree[0] = {"children": [0], "parent": 0, "node_level": 0}
    path.write_bytes(pickle.dumps(index))
    report = import_hannotation(tmp_path, tmp_path / "ours", "val", **QUIET)
    assert "circle" in report.left_out[scenes[0].name] and report.images == 1


def test_commands(folders, tmp_path, capsys):
    root, scenes = folders
    parser = argparse.ArgumentParser()
    add_actions(parser.add_subparsers(required=True))
    common = ["--split", "val", "--workers", "0", "--no-progress"]
    arguments = ["--coco", str(root / "coco"), "--lvis", str(root / "lvis"), "--output", str(tmp_path / "a")]
    options = parser.parse_args(["build-coco-lvis", *arguments, "--min-area", "90", "--tree-mask", "0.9", *common])
    assert options.run(options) == 0 and "6 images" in capsys.readouterr().out
    recipe = json.loads((tmp_path / "a" / "val" / "build.json").read_text())
    assert recipe["thresholds"] == vars(Thresholds(min_area=90, tree_mask=0.9))
    export_scenes(scenes, tmp_path / "released", "coco_lvis", split="val")
    damaged = tmp_path / "released" / "val" / "masks" / f"{scenes[0].name}.pickle"
    damaged.write_bytes(b"no pickle")
    options = parser.parse_args(
        ["import-hannotation", str(tmp_path / "released"), "--output", str(tmp_path / "b"), *common]
    )
    assert options.run(options) == 1
    assert f"left out: {scenes[0].name}" in capsys.readouterr().out
    assert Path(tmp_path / "b" / "val" / "layers.json").is_file()
