"""A tiny dataset drawn by code: circles and boxes with parts, so that no test here needs a reader."""

from __future__ import annotations

import numpy as np

from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject
from data_modules.training.view import TrainingView

# ids of every scene: a disk with a part in it (2 inside 1), a box, a stuff band at the bottom, pixels of nothing listed
DISK, PART, BOX, STUFF, UNLISTED = 1, 2, 3, 4, 9


def draw_scene(number: int, height: int = 60, width: int = 80, ignore: bool = False) -> Scene:
    """Scene `number`: the same objects, moved a little; the image's colours tell scene and object."""
    y, x = np.mgrid[:height, :width]
    layers = np.zeros((height, width, 2), np.int32)
    layers[height - 10 :, :, 0] = STUFF
    layers[:4, :6, 0] = UNLISTED
    layers[..., 0][(y - 25) ** 2 + (x - 20 - number % 5) ** 2 <= 15**2] = DISK
    layers[12:40, 50:70, 0] = BOX
    layers[20:30, 15:28, 1] = PART
    if ignore:
        layers[10:45, 30:34, 1] = -1
    image = np.stack([layers[..., 0] * 20, layers[..., 1] * 40 + 40, np.full((height, width), number % 256)], axis=2)
    objects = {
        DISK: SceneObject(0),
        PART: SceneObject(1, parent=DISK),
        BOX: SceneObject(0),
        STUFF: SceneObject(0, stuff=True),
    }
    return Scene(np.clip(image, 0, 255).astype(np.uint8), layers, objects, f"scene{number}")


class TinyScenes(SceneDataset):
    """`length` scenes; those in `broken` cannot be read."""

    name = "Tiny"

    def __init__(self, length: int = 6, broken: tuple[int, ...] = (), ignore: bool = False, first: int = 0) -> None:
        self.length, self.broken, self.ignore, self.first = length, broken, ignore, first
        self.reads = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Scene:
        self.reads += 1
        if index in self.broken:
            raise BrokenScene(f"/nowhere/scene{index}.png: cannot be read")
        return draw_scene(self.first + index, ignore=self.ignore)

    def scene_name(self, index: int) -> str:
        return f"scene{self.first + index}"

    def objects(self) -> list[tuple[int, int]]:
        return [(scene, key) for scene in range(self.length) for key in ((0,) if scene in self.broken else (DISK, BOX))]


def settled(number=0, ignore=False, stuff=False):
    """Layers, objects and areas of scene `number`, its stuff band an object only on demand."""
    scene = draw_scene(number, ignore=ignore)
    view = TrainingView.of(scene, stuff).sync_objects()
    return view.layers, view.objects, view.areas
