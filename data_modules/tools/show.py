"""What `clicklab data show NAME=FOLDER --index i` draws: image, layers, object tree, targets, first clicks.

With `--suem` it is the sheet of `data_modules.tools.show_mix`.
"""

from __future__ import annotations

import argparse
import colorsys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_modules.datasets import open_dataset
from data_modules.scenes import Scene
from data_modules.tools.dataset_spec import dataset_spec
from data_modules.tools.figures import write_figure
from data_modules.tools.show_mix import show_suem
from data_modules.training.first_clicks import InitialClickSampling, sample_points
from data_modules.training.targets import TargetSampling, choose_target
from data_modules.training.view import TrainingView

COLUMNS, TREE_LINES, LAYERS_SHOWN = 4, 34, 6
GREEN, RED = "#19d319", "#ff2828"


def show(
    name: str, folder: str | Path | None, index: int, output: str | Path, targets: int = 4, **options: Any
) -> Path:
    """Writes a picture of scene `index`; returns where it is.

    Args:
        name: a key of `data_modules.datasets.DATASETS`.
        folder: where the set lies.
        index: which scene, from 0.
        output: the file to write; its suffix decides the kind (.png, .pdf, ...). Its folder is made if missing.
        targets: how many random training targets with their first clicks are drawn (the same ones at every call).
        options: options of the reader, such as `split`.

    Raises:
        ValueError: unknown name, or an index that the set does not have.
        FileNotFoundError: the set is not there; the message says where it comes from.
        BrokenScene: the scene cannot be read.
    """
    dataset = open_dataset(name, folder, **options)
    if not 0 <= index < len(dataset):
        raise ValueError(f"{name} has the scenes 0..{len(dataset) - 1}, there is no scene {index}")
    output = Path(output)
    figure = sheet(dataset[index], targets)
    figure.suptitle(f"{name}, scene {index}: {dataset.scene_name(index)}", x=0.01, ha="left", fontsize=11)
    write_figure(figure, output)
    return output


def sheet(scene: Scene, targets: int = 4) -> Figure:
    """The picture of a scene: the image, its layers, the tree, and random targets with their first clicks."""
    shown = min(scene.layers.shape[2], LAYERS_SHOWN)
    rows = -(-(2 + shown + targets) // COLUMNS)
    height, width = scene.image.shape[:2]
    figure = Figure(figsize=(3.4 * COLUMNS, 0.4 + rows * (0.3 + 3.4 * min(height / width, 1.5))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = iter(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    colours = object_colours(scene)
    _picture(next(axes), scene.image, f"image, {width} x {height}")
    for layer in range(shown):
        left_out = f" (of {scene.layers.shape[2]})" if shown < scene.layers.shape[2] else ""
        _picture(next(axes), _painted(scene, layer, colours), f"layer {layer}{left_out}")
    _draw_tree(next(axes), scene, colours)
    for number in range(targets):
        _draw_target(next(axes), scene, number)
    for rest in axes:
        rest.axis("off")
    return figure


def object_colours(scene: Scene) -> dict[int, tuple[float, float, float]]:
    """A colour (RGB in 0..1) per object: hues far apart for ids that follow each other, stuff pale."""
    return {
        key: colorsys.hsv_to_rgb(0.61803 * number % 1.0, 0.25 if entry.stuff else 0.85, 0.95)
        for number, (key, entry) in enumerate(sorted(scene.objects.items()))
    }


def tree_lines(scene: Scene) -> Iterator[tuple[int, int, str]]:
    """(depth, id, text) of every object, children after their parents, larger ones first."""
    areas = scene.areas()

    def below(parent: int, depth: int) -> Iterator[tuple[int, int, str]]:
        children = [key for key, entry in scene.objects.items() if entry.parent == parent]
        for key in sorted(children, key=lambda key: (scene.objects[key].stuff, -areas[key])):
            yield depth, key, f"{key}: {areas[key]} px" + (" (stuff)" if scene.objects[key].stuff else "")
            yield from below(key, depth + 1)

    return below(0, 0)


def _picture(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation="nearest" if max(image.shape[:2]) < 200 else "antialiased")
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def _painted(scene: Scene, layer: int, colours: dict[int, tuple[float, float, float]]) -> np.ndarray:
    """(H, W, 3) uint8: the objects of a layer over the darkened image, ignored pixels white."""
    ids = scene.layers[..., layer]
    painted = scene.image // 4
    for key, entry in scene.objects.items():
        if entry.layer == layer:
            painted[ids == key] = np.round(255 * np.array(colours[key]))
    painted[ids < 0] = 255
    return painted


def _draw_tree(axes: Axes, scene: Scene, colours: dict[int, tuple[float, float, float]]) -> None:
    lines = list(tree_lines(scene))
    axes.set_title(f"{len(lines)} objects", fontsize=9)
    axes.axis("off")
    step = 1 / max(12, min(len(lines), TREE_LINES))
    for row, (depth, key, text) in enumerate(lines[:TREE_LINES]):
        x, y = 0.02 + 0.07 * depth, 1 - (row + 0.7) * step
        axes.plot([x], [y], "s", color=colours[key], markersize=5, transform=axes.transAxes)
        left_out = f"   ... and {len(lines) - TREE_LINES} more" if row == TREE_LINES - 1 < len(lines) - 1 else ""
        axes.text(x + 0.03, y, text + left_out, fontsize=6.5, va="center", transform=axes.transAxes)


def _draw_target(axes: Axes, scene: Scene, number: int) -> None:
    """Random target `number` as training would choose it from the uncropped scene: outside darkened, clicks on top."""
    rng = np.random.default_rng([number])
    view = TrainingView.of(scene, stuff=False).sync_objects()
    target = choose_target(view.layers, view.objects, TargetSampling(), rng)
    points = sample_points(target, InitialClickSampling(), rng)
    image = np.where((target.mask == 1)[..., None], scene.image, scene.image // 3)
    image[target.mask < 0] = 255
    _picture(axes, image, "target " + " + ".join(map(str, target.ids)) if target.ids else "no target")
    for y, x, positive in points:
        axes.plot([x], [y], "o" if positive else "X", color=GREEN if positive else RED, markeredgecolor="white")


def run_show(options: argparse.Namespace) -> int:
    """`clicklab data show`."""
    name, folder, chosen = dataset_spec(options.dataset)
    chosen |= {} if options.split is None else {"split": options.split}
    draw = show_suem if options.suem else show
    print(f"written: {draw(name, folder, options.index, options.output, options.targets, **chosen)}")
    return 0
