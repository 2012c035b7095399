"""What several candidates are good for: one click in the middle of every object and part, and the robot's next ones.

    python benchmarks/first_click.py [CHECKPOINT ...] [--data NAME=FOLDER --split val] [--clicks 8] [--output FILE.json]

After the first click: mean IoU of the best candidate by the ground truth, of the one chosen by score and of a random
one, and the mean IoU of pairs of candidates (overlap); a network with a single mask has one IoU three times.
With --clicks: mean IoU after each click of the robot's dialogue, no object stopping early, once with candidates chosen
by score and once by the ground truth. DISNet chooses at the first click and goes on from there, PiClick at every click.

Without --data: held-out Shapes, objects with parts. Without a checkpoint: an untrained PiClick.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import clicklab
from clicklab.commands.devices import find_device
from clicklab.commands.errors import run_script
from clicklab.evaluation.play import evaluate_objects, view_scale_of
from clicklab.evaluation.protocol import ORACLE, EvaluationProtocol
from clicklab.inference.predictor import predictor_for
from clicklab.inference.state import SessionImage, SessionState
from clicklab.methods import method_package
from clicklab.nn.network import as_click_network
from clicklab.records import IGNORE, EvaluationObject, SkippedObject
from clicklab.visualize.candidates import first_click
from data_modules.datasets import Shapes, open_dataset
from data_modules.scenes import BrokenScene, EvaluationObjects
from data_modules.tools.dataset_spec import dataset_spec

MIN_AREA = 40  # pixels; as in training (experiments/piclick/nested.yaml)
EVERYTHING = 10**6  # pixels: a zoom-in that never looks at less sees the whole image
WAYS = {"": "by score", ORACLE: "by ground truth"}


class Spread:
    """At most `limit` objects of a dataset, evenly spread over it; item i carries index i, small ones are skipped.

    Attributes:
        dataset: where they come from.
        kinds: what each object is: a `part` of another one, a `whole with parts`, or a `plain whole`.
    """

    def __init__(self, dataset, limit=None):
        self.dataset, self.objects = dataset, EvaluationObjects(dataset)
        count = min(limit or len(self.objects), len(self.objects))
        self.chosen = [number * len(self.objects) // count for number in range(count)]
        listed = [self.objects.items[number] for number in self.chosen]
        trees = {scene: tree_of(dataset, scene) for scene in sorted({scene for scene, _ in listed})}
        self.kinds = [kind_of(key, trees[scene]) for scene, key in listed]

    def __len__(self):
        return len(self.chosen)

    def __getitem__(self, index):
        item = replace(self.objects[self.chosen[index]], index=index)
        if isinstance(item, EvaluationObject) and (item.target == 1).sum() < MIN_AREA:
            return SkippedObject(item.name, item.object, index, f"smaller than {MIN_AREA} pixels")
        return item


def tree_of(dataset, scene):
    """Object id -> id of its parent; of a scene that cannot be read, nothing."""
    try:
        return {key: entry.parent for key, entry in dataset[scene].objects.items()}
    except BrokenScene:
        return {}


def kind_of(key, tree):
    """What an object is to the others of its scene."""
    if tree.get(key):
        return "part"
    return "whole with parts" if key in tree.values() else "plain whole"


def compared(masks, target):
    """IoU of each candidate (K, H, W) bool with a target (H, W) in {1, 0, -1}; mean IoU of pairs of candidates."""
    sets = torch.cat([masks, (target == 1)[None]])[:, target != IGNORE].float()
    shared = sets @ sets.T
    area = shared.diagonal()
    ious = (shared / (area[:, None] + area - shared).clamp_min(1)).cpu()
    first, second = torch.tril_indices(len(masks), len(masks), -1)
    return ious[-1, :-1].tolist(), ious[first, second].mean().item() if len(masks) > 1 else 1.0


@torch.no_grad()
def first_answers(network, objects, protocol, device, batch_size):
    """Index of each object -> name, id, share of the image, IoU of every candidate, the one chosen, their overlap."""
    predictor = predictor_for(network, protocol, view_scale_of(objects), device)
    rows = {}
    for start in range(0, len(objects), batch_size):
        items = [objects[number] for number in range(start, min(start + batch_size, len(objects)))]
        items = [item for item in items if isinstance(item, EvaluationObject)]
        images = [SessionImage.from_array(item.image, predictor.device) for item in items]
        clicked = [
            SessionState(image).with_click(*first_click(item)) for item, image in zip(items, images, strict=True)
        ]
        for item, state in zip(items, predictor.predict(clicked), strict=True):
            target = torch.from_numpy(np.ascontiguousarray(item.target)).to(device)
            ious, overlap = compared(state.prediction.maps() > predictor.mask_threshold, target)
            facts = {"name": item.name, "object": item.object, "share": float((item.target == 1).mean())}
            rows[item.index] = facts | {"ious": ious, "chosen": state.chosen, "overlap": overlap}
    return rows


def measure(network, objects, options, device):
    """Settings, mean figures by kind of object (`all` first), and what they were made of."""
    rule = as_click_network(network).zoom_in  # None: it never zooms in
    whole = replace(rule, min_crop_size=EVERYTHING) if rule and options.whole_image else None
    protocol = EvaluationProtocol(preset="clean", max_clicks=options.clicks, target_iou=1.01, zoom_in=whole)
    rows = first_answers(network, objects, protocol, device, options.batch_size)
    for index, row in rows.items():
        row |= {"kind": objects.kinds[index], "clicks": {}}
    if options.clicks > 1:
        played = evaluate_objects(network, {"": objects}, protocol, batch_size=options.batch_size, device=device)
        for suffix, record in played["datasets"].items():
            for row in record["objects"]:
                rows[row["index"]]["clicks"][WAYS[suffix]] = row["ious"]
    kinds = defaultdict(list)
    for row in rows.values():
        kinds["all"].append(row)
        kinds[row["kind"]].append(row)
    figures = {kind: means(found) for kind, found in kinds.items()}
    skipped = len(objects) - len(rows)
    return {
        "protocol": protocol.to_dict(network),
        "skipped": skipped,
        "figures": figures,
        "objects": list(rows.values()),
    }


def means(rows):
    """Mean figures of some objects."""
    figures = {
        "objects": len(rows),
        "best": np.mean([max(row["ious"]) for row in rows]),
        "chosen": np.mean([row["ious"][row["chosen"]] for row in rows]),
        "random": np.mean([np.mean(row["ious"]) for row in rows]),
        "overlap": np.mean([row["overlap"] for row in rows]),
    }
    for way in rows[0]["clicks"]:
        figures[f"clicks, {way}"] = np.mean([row["clicks"][way] for row in rows], axis=0).tolist()
    return figures


def table(name, record):
    """The means as text."""
    lines = [name]
    for kind, figures in record["figures"].items():
        shown = [f"{key} {value:.3g}" for key, value in figures.items() if not isinstance(value, list)]
        lines.append(f"  {kind:18}" + "   ".join(shown))
    for way, curve in record["figures"].get("all", {}).items():
        if isinstance(curve, list):
            lines.append(f"  IoU after {way}: " + " ".join(f"{iou:.3f}" for iou in curve))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="*", type=Path)
    parser.add_argument("--data", metavar="NAME=FOLDER", help="default: held-out Shapes")
    parser.add_argument("--split", help="of that dataset")
    parser.add_argument("--scenes", type=int, default=200, help="of Shapes (default %(default)s)")
    parser.add_argument("--limit", type=int, help="at most so many objects, spread over the dataset")
    parser.add_argument("--clicks", type=int, default=1, help="of every dialogue (default %(default)s)")
    parser.add_argument("--whole-image", action="store_true", help="no network zooms in, as DISNet never does")
    parser.add_argument("--batch-size", type=int, default=8, help="objects in lockstep (default %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default: cuda where there is one)")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/first_click.json"), metavar="FILE")
    options = parser.parse_args()
    device = find_device(options.device)
    if options.data:
        name, folder, reading = dataset_spec(options.data)
        dataset = open_dataset(name, folder, **reading | ({"split": options.split} if options.split else {}))
    else:
        dataset = Shapes(length=options.scenes, size=64, split="val", crowd=1, parts=True)
    objects = Spread(dataset, options.limit)
    settings = {key: value for key, value in vars(options).items() if key not in ("checkpoint", "output")}
    record = {"settings": settings | {"device": device}, "networks": {}}
    for path in options.checkpoint or [None]:
        small = {"variant": "tiny", "network_options": {"image_size": 64, "embed_dim": 128, "depth": 4}}
        network = (
            method_package("piclick").build(small).to(device).eval() if path is None else clicklab.load(path, device)
        )
        name = "untrained PiClick" if path is None else str(path)
        record["networks"][name] = measure(network, objects, options, device)
        print(table(name, record["networks"][name]))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
