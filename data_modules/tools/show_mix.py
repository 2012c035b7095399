"""What `clicklab data show NAME=FOLDER --suem` draws: one training crop under every kind of SUEM copy-paste."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_modules.datasets import open_dataset
from data_modules.scenes import Scene, SceneDataset
from data_modules.tools.figures import write_figure
from data_modules.training.augment import augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.sample_maker import TrainingSample
from data_modules.training.samples import TrainingSamples
from data_modules.training.sources import TrainingSource
from data_modules.training.suem import SUEM
from data_modules.training.targets import TargetSampling
from data_modules.training.view import SceneMix

CROP, MIN_AREA = (448, 448), 1000
GREEN, RED = "#19d319", "#ff2828"
_simple = partial(SUEM, simple_prob=1, extra_prob=0, mixing_prob=0)
_extra = partial(SUEM, simple_prob=0, extra_prob=1, mixing_prob=0)
KINDS: dict[str, SceneMix | None] = {
    "source": None,
    "simple, pasted (paper)": _simple(simple_share=(1.0, 1.0)),
    "simple, blended (code)": _simple(),
    "union": _extra(exclusion=0, veil=0),
    "exclusion": _extra(union=0, veil=0),
    "veil (code)": _extra(union=0, exclusion=0),
    "mixing": SUEM(simple_prob=0, extra_prob=0, mixing_prob=1),
    "all, as officially": SUEM(),
}


def show_suem(
    name: str, folder: str | Path | None, index: int, output: str | Path, targets: int = 4, **options: Any
) -> Path:
    """Writes a picture of scene `index` mixed with random others of its set; returns where it is.

    Args:
        name, folder, index, output, options: as `data_modules.tools.show.show`.
        targets: random crops, targets and extra scenes, one row each (the same ones at every call).

    Raises:
        ValueError: unknown name, an index that the set does not have, or a scene without an object.
        FileNotFoundError: the set is not there; the message says where it comes from.
        BrokenScene: the scene cannot be read.
    """
    dataset = open_dataset(name, folder, **options)
    if not 0 <= index < len(dataset):
        raise ValueError(f"{name} has the scenes 0..{len(dataset) - 1}, there is no scene {index}")
    output = Path(output)
    figure = Figure(figsize=(2.6 * len(KINDS), 0.5 + 2.8 * targets), layout="constrained")
    FigureCanvasAgg(figure)
    scene = dataset[index]
    for row, line in enumerate(figure.subplots(targets, len(KINDS), squeeze=False)):
        for axes, (title, mix) in zip(line, KINDS.items(), strict=True):
            _draw(axes, mixed_sample(dataset, scene, mix, row), title)
    figure.suptitle(f"{name}, scene {index}: {dataset.scene_name(index)}", x=0.01, ha="left", fontsize=11)
    write_figure(figure, output)
    return output


def mixed_sample(dataset: SceneDataset, scene: Scene, mix: SceneMix | None, seed: int) -> TrainingSample:
    """A training crop of the scene; with one seed the same crop and target whatever `mix` is."""
    samples = TrainingSamples(
        [TrainingSource(dataset, allow_overlap=True)],
        augmentation("coco_lvis", CROP),
        TargetSampling(min_object_area=MIN_AREA),
        InitialClickSampling(),
        seed=0,
        mix=mix,
    )
    sample = samples.sample_of(scene, np.random.default_rng(seed))
    if sample is None:
        raise ValueError(f"scene {scene.name} has no object to show")
    return sample


def _draw(axes: Axes, sample: TrainingSample, title: str) -> None:
    """The image with the target's outline and the first clicks; ignored pixels white."""
    image = np.where((sample.target < 0)[..., None], 255, sample.image).astype(np.uint8)
    outlines, _ = cv2.findContours((sample.target == 1).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    axes.imshow(image)
    axes.set_title(title, fontsize=9)
    axes.axis("off")
    for outline in outlines:
        closed = np.concatenate([outline, outline[:1]])[:, 0]
        axes.plot(closed[:, 0], closed[:, 1], color="white", linewidth=2.4)
        axes.plot(closed[:, 0], closed[:, 1], color="#ff9d00", linewidth=1.2)
    for y, x, positive in sample.points:
        axes.plot([x], [y], "o" if positive else "X", color=GREEN if positive else RED, markeredgecolor="white")
