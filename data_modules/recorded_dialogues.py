"""What people clicked, as objects to be played: the dialogues of `clicklab annotate export --format clicks`.

A dialogue has no ground truth of its own. Its target is the object of the dataset that its final mask overlaps most.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco
from torch.utils.data import Dataset

from clicklab.records import EvaluationObject, SkippedObject
from data_modules.scenes import BrokenScene, Scene, SceneDataset

FORM = "clicklab-clicks"
Click = tuple[int, int, int]  # row, column, label: 1 positive, 0 negative


@dataclass(frozen=True)
class Dialogue:
    """What somebody clicked on one object.

    Attributes:
        image: path of the photo, as the annotator saw it.
        size: (H, W) of the photo.
        clicks: in their order.
        mask: (H, W) run lengths of the final mask, as COCO has them.
        start: of the mask before the first click, None where there was none.
    """

    image: str
    size: tuple[int, int]
    clicks: tuple[Click, ...]
    mask: dict[str, Any]
    start: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """File stem of the image, which scenes are named by."""
        return PurePosixPath(self.image).stem


class RecordedDialogues(Dataset[EvaluationObject | SkippedObject]):
    """The dialogues on images of one dataset, each as an object with its clicks; index i is dialogue i of those.

    Args:
        dataset: where images and targets come from.
        dialogues: of any images; those on images of other datasets are left out.
        from_masks: play those that began from a given mask, from it; by default those that began from nothing.
        limit: only the first of them.
    """

    def __init__(
        self,
        dataset: SceneDataset,
        dialogues: Sequence[Dialogue],
        from_masks: bool = False,
        limit: int | None = None,
    ) -> None:
        self.dataset, self.from_masks = dataset, from_masks
        self._places = {dataset.scene_name(place): place for place in range(len(dataset))}
        self.dialogues = [dialogue for dialogue in dialogues if dialogue.name in self._places][:limit]
        self._ids = objects_by_scene(dataset)

    def __len__(self) -> int:
        return len(self.dialogues)

    def __getitem__(self, index: int) -> EvaluationObject | SkippedObject:
        dialogue = self.dialogues[index]
        place = self._places[dialogue.name]
        try:
            item = self._object(dialogue, self.dataset[place], self._ids.get(place, []))
        except BrokenScene as error:
            return SkippedObject(dialogue.name, 0, index, str(error))
        return replace(item, index=index)

    def _object(self, dialogue: Dialogue, scene: Scene, ids: Sequence[int]) -> EvaluationObject | SkippedObject:
        reason = unplayable(dialogue, scene, self.from_masks)
        if reason:
            return SkippedObject(scene.name, 0, 0, reason)
        final = decoded(dialogue.mask, dialogue)
        best = max(ids, key=lambda one: overlap(final, scene.mask(one)), default=0)
        if not best or not overlap(final, scene.mask(best)):
            return SkippedObject(scene.name, 0, 0, "the final mask of the dialogue meets no object of the annotation")
        start = decoded(dialogue.start, dialogue) if dialogue.start is not None else None
        return EvaluationObject(scene.image, scene.mask(best), scene.name, best, 0, start, dialogue.clicks)


def objects_by_scene(dataset: SceneDataset) -> dict[int, list[int]]:
    """Scene -> ids of its objects that are evaluated."""
    found: dict[int, list[int]] = {}
    for scene, object_id in dataset.objects():
        if object_id:
            found.setdefault(scene, []).append(object_id)
    return found


def unplayable(dialogue: Dialogue, scene: Scene, from_masks: bool) -> str | None:
    """Why a dialogue cannot be replayed, None if it can."""
    if dialogue.size != scene.image.shape[:2]:
        return f"was clicked on a photo of {dialogue.size}, the image here is {scene.image.shape[:2]}"
    if not dialogue.clicks:
        return "the dialogue has no click"
    if dialogue.start is not None and not from_masks:
        return "the dialogue began from a given mask; --initial-masks replays such ones"
    return None


def overlap(mask: np.ndarray, target: np.ndarray) -> float:
    """IoU of a mask (H, W) bool with a target (H, W) of 1, 0 and -1 (left out)."""
    union = (mask | (target == 1)) & (target >= 0)
    return float((mask & (target == 1)).sum() / max(1, union.sum()))


def decoded(rle: dict[str, Any], dialogue: Dialogue) -> np.ndarray:
    """(H, W) bool. Raises BrokenScene: the run lengths are damaged, or of another size."""
    try:
        mask = coco.decode({"size": list(rle["size"]), "counts": str(rle["counts"]).encode("ascii")}).astype(bool)
    except (KeyError, TypeError, ValueError, UnicodeEncodeError) as error:
        raise BrokenScene(f"{dialogue.image}: the mask of its dialogue cannot be read ({error})") from error
    if mask.shape != dialogue.size:
        raise BrokenScene(f"{dialogue.image}: the mask of its dialogue is {mask.shape}, the photo {dialogue.size}")
    return mask


def read_dialogues(path: Path) -> list[Dialogue]:
    """The dialogues of a file that `clicklab annotate export --format clicks` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or a dialogue that makes no sense; the message names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--clicks: {path} is missing; `clicklab annotate export --format clicks` writes one")
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--clicks: {path} is not json ({error})") from error
    rows = record.get("dialogues") if isinstance(record, dict) and record.get("format") == FORM else None
    if not isinstance(rows, list) or not rows:
        raise ValueError(
            f"--clicks: {path} holds no dialogues of `clicklab annotate export --format clicks` (docs/annotate.md)"
        )
    return [_dialogue(row, number, path) for number, row in enumerate(rows)]


def _dialogue(row: Any, number: int, path: Path) -> Dialogue:
    try:
        height, width = map(int, row["size"])
        clicks = tuple((round(y), round(x), int(bool(positive))) for y, x, positive in row["clicks"])
        outside = [click for click in clicks if not (0 <= click[0] < height and 0 <= click[1] < width)]
        if outside:
            raise ValueError(f"click {outside[0][:2]} lies outside the photo of {height} rows, {width} columns")
        return Dialogue(str(row["image"]), (height, width), clicks, dict(row["mask"]), row.get("start"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"--clicks: {path}: dialogue {number}: {said}") from error
