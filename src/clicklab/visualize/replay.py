"""The dialogues of a results record, clicked once more: what the masks looked like, which the record does not hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from clicklab.evaluation.lockstep import protocol_of
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.robustness import Objects, perturbed_run
from clicklab.inference.predictor import Predictor, predictor_for
from clicklab.inference.session import Session
from clicklab.records import IGNORE, EvaluationObject
from clicklab.views.zoom_in import ZoomIn

Click = tuple[int, int, int]  # row, column, label: 1 positive, 0 negative
SAME = 0.005  # an IoU that differs by more was not answered by the same network in the same way


@dataclass(frozen=True)
class Step:
    """One click and the answer to it.

    Attributes:
        click: (row, column, label), label 1 positive, 0 negative.
        mask: (H, W) bool, the mask after it.
        iou: of the mask with the target.
        masks: (K, H, W) bool, all candidates.
        scores: (K,) the network's trust in them, None where it gives one mask.
        chosen: which of them is the mask.
    """

    click: Click
    mask: np.ndarray
    iou: float
    masks: np.ndarray
    scores: np.ndarray | None = None
    chosen: int = 0


def predictor_of_record(
    network: nn.Module, protocol: Mapping[str, Any], record: Mapping[str, Any], device: torch.device | str | None = None
) -> Predictor:
    """The predictor that answered the dialogues of a record: same settings, same view.

    Args:
        network: with the same weights.
        protocol: settings of the results.
        record: of the dataset; its `zoom_in` is the rule that was used, scaled as the dataset asks.
        device: where to run; default: where the network is.
    """
    known = {field.name for field in fields(EvaluationProtocol)}
    settings = {key: value for key, value in protocol.items() if key in known}
    zoom = record.get("zoom_in", protocol.get("zoom_in"))
    settings |= {"zoom_in": None if zoom is None else ZoomIn(**zoom), "zoom": zoom is not None}
    settings |= {"zoom_size": None, "view_scale": 1.0}  # the rule has both in it
    return predictor_for(network, EvaluationProtocol(**settings), device=device)


def replay(predictor: Predictor, item: EvaluationObject, clicks: Sequence[Click], oracle: bool = False) -> list[Step]:
    """Clicks on an object as it was clicked before.

    Args:
        predictor: answers.
        item: the object, with the mask to start from where the dialogue began with one.
        clicks: in their order.
        oracle: after every click the candidate with the largest IoU was taken.
    """
    session = Session(predictor, keep_history=False)
    session.set_image(item.image)
    if protocol_of(predictor).starts_from_mask and item.initial_mask is not None:
        session.set_mask(item.initial_mask)
    return [_answered(session, item, click, oracle) for click in clicks]


def _answered(session: Session, item: EvaluationObject, click: Click, oracle: bool) -> Step:
    y, x, label = click
    session.add_click(y, x, bool(label))
    masks = session.candidates > session.predictor.mask_threshold
    ious = [iou(mask, item.target) for mask in masks]
    if oracle:
        session.choose(int(np.argmax(ious)))
    chosen = session.state.chosen
    return Step((y, x, label), masks[chosen], ious[chosen], masks, session.scores, chosen)


def iou(mask: np.ndarray, target: np.ndarray) -> float:
    """IoU of a mask (H, W) bool with a target (H, W) of 1, 0 and -1; ignored pixels are left out."""
    union = (mask | (target == 1)) & (target != IGNORE)
    return float((mask & (target == 1)).sum() / max(1, union.sum()))


def object_of_row(objects: Objects, row: Mapping[str, Any], protocol: Mapping[str, Any]) -> EvaluationObject:
    """The object that a row of a record is about.

    Args:
        objects: the dataset as it was played.
        row: with `index`, `name` and `object`.
        protocol: settings of the results; under `perturb_iou` or `click_spread` an index counts runs of objects.

    Raises:
        ValueError: the dataset holds another object there, or none that can be read.
    """
    repeated = protocol.get("perturb_iou") is not None or protocol.get("click_spread")
    repeats = protocol["repeats"] if repeated else 1
    number, run = divmod(row["index"], repeats)
    found = objects[number] if number < len(objects) else None
    if not isinstance(found, EvaluationObject) or (found.name, found.object) != (row["name"], row["object"]):
        there = "nothing readable" if not isinstance(found, EvaluationObject) else f"{found.name}, {found.object}"
        raise ValueError(
            f"object {row['index']} was {row['name']}, object {row['object']}; now the data holds {there} in its place"
        )
    if protocol.get("perturb_iou") is None:
        return found
    spoilt = perturbed_run(found, protocol["perturb_iou"], run, repeats)
    assert isinstance(spoilt, EvaluationObject)  # what can be read can be spoilt
    return spoilt


def unlike(steps: Sequence[Step], ious: Sequence[float]) -> Iterator[int]:
    """Numbers (from 1) of the clicks whose IoU is not that of the record: other weights, another device."""
    for number, (step, recorded) in enumerate(zip(steps, ious, strict=True), start=1):
        if abs(step.iou - recorded) > SAME:
            yield number
