"""What several candidates are good for: one click in the middle of every object and part of held-out Shapes.

    python benchmarks/first_click.py [CHECKPOINT ...] [--scenes 200] [--output FILE.json]

Mean IoU of the best candidate by the ground truth, of the one chosen by score and of a random one, and the mean IoU of
pairs of candidates (overlap). Without a checkpoint: an untrained PiClick.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

import clicklab
from clicklab.evaluation.candidate_sheet import first_click
from clicklab.evaluation.predictor import predictor_for
from clicklab.evaluation.protocol import Protocol
from clicklab.evaluation.session import Session
from clicklab.methods import method_package
from clicklab.records import SkippedObject
from data_modules.datasets import Shapes
from data_modules.sample import EvaluationObjects

MIN_AREA = 40  # pixels; as in training (experiments/piclick/nested.yaml)


def iou(one, other):
    """IoU of two masks, 0 where both are empty."""
    return (one & other).sum() / max(1, (one | other).sum())


def answers(network, scenes):
    """For each object: its kind, the IoU of every candidate, the one chosen, the mean IoU of pairs of candidates."""
    shapes = Shapes(length=scenes, size=64, split="val", crowd=1, parts=True)
    objects = EvaluationObjects(shapes)
    predictor = predictor_for(network, Protocol(preset="clean"))
    for (index, key), number in zip(objects.items, range(len(objects)), strict=True):
        item = objects[number]
        if isinstance(item, SkippedObject) or (item.target == 1).sum() < MIN_AREA:
            continue
        tree = shapes[index].objects
        kind = "whole with parts" if any(entry.parent == key for entry in tree.values()) else "plain whole"
        session = Session(predictor, keep_history=False)
        session.set_image(item.image)
        session.add_click(*first_click(item))
        masks = session.candidates > predictor.mask_threshold
        pairs = [iou(masks[i], masks[j]) for i in range(len(masks)) for j in range(i)]
        ious = [iou(mask, item.target == 1) for mask in masks]
        yield "part" if tree[key].parent else kind, ious, session.turn.chosen, np.mean(pairs) if pairs else 1.0


def measure(network, scenes):
    """Kind of object -> mean figures, `all` first."""
    rows = defaultdict(list)
    for kind, ious, chosen, overlap in answers(network, scenes):
        for name in ("all", kind):
            rows[name].append((max(ious), ious[chosen], np.mean(ious), overlap))
    names = ("best", "chosen", "random", "overlap")
    return {kind: {"objects": len(found)} | dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))
            for kind, found in rows.items()}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="*", type=Path)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/first_click.json"), metavar="FILE")
    options = parser.parse_args()
    networks = {str(path): path for path in options.checkpoint} or {"untrained PiClick": None}
    record = {}
    for name, path in networks.items():
        small = {"variant": "tiny", "network_options": {"image_size": 64, "embed_dim": 128, "depth": 4}}
        network = method_package("piclick").build(small).eval() if path is None else clicklab.load(path)
        record[name] = measure(network, options.scenes)
        print(name)
        for kind, figures in record[name].items():
            print(f"  {kind:18}" + "   ".join(f"{key} {value:.3g}" for key, value in figures.items()))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
