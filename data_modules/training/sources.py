"""What a training mixture is made of, and how often each scene of it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_modules.formats.notes import brief
from data_modules.formats.restricted_pickle import load_pickle
from data_modules.scenes import SceneDataset


@dataclass(frozen=True)
class TrainingSource:
    """One dataset of a training mixture.

    Attributes:
        dataset: where the scenes come from.
        weight: how often it is drawn from, relative to the other sources.
        sample_weights: pickle of (index, name, score) per scene, such as the official sbd_samples_weights.pkl: scene i
            is drawn with probability proportional to (1 - score_i) ** sample_weights_gamma. None draws all scenes
            alike.
        sample_weights_gamma: the exponent (official: 1.25).
        allow_overlap: train on a split that shares images with a benchmark, which must not be reported then.
    """

    dataset: SceneDataset
    weight: float = 1.0
    sample_weights: Path | None = None
    sample_weights_gamma: float = 1.25
    allow_overlap: bool = False


def read_sample_weights(path: str | Path, dataset: SceneDataset, gamma: float = 1.25) -> np.ndarray:
    """Probability of every scene of `dataset`, (len(dataset),) float64, from an official weights file.

    Source: docs/training.md#drawing-samples. Nothing in the pickle is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or one made for another list of scenes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such sample-weights file. The official one for SBD is assets/sbd_samples_weights.pkl of the"
            " SimpleClick repository; leave sample_weights out to draw all scenes alike"
        )
    content = load_pickle(path)
    try:
        rows = [(int(index), str(name), float(score)) for index, name, score in content]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not a list of (index, name, score): {brief(error)}") from error
    if not all(np.isfinite(score) for _, _, score in rows):
        raise ValueError(f"{path}: holds scores that are NaN or infinite")
    probabilities = np.zeros(len(dataset))
    for index, name, score in rows:
        if not 0 <= index < len(dataset) or dataset.scene_name(index) != name:
            known = dataset.scene_name(index) if 0 <= index < len(dataset) else "nothing"
            raise ValueError(
                f"{path}: made for another list of scenes: number {index} is {name} there and {known} in {dataset.name}"
            )
        probabilities[index] = max(1.0 - score, 0.0) ** gamma
    if probabilities.sum() <= 0:
        raise ValueError(f"{path}: gives no scene of {dataset.name} any weight")
    return probabilities / probabilities.sum()
