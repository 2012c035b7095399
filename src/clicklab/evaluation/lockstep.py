"""Many objects played in lockstep: every round one robot click and one answer for each of a pool of dialogues."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from clicklab.clicks.next_click import robot_click, spread_click
from clicklab.evaluation.metrics import boundary_iou
from clicklab.evaluation.object_result import ObjectResult
from clicklab.evaluation.protocol import BATCH_SIZE, EvaluationProtocol
from clicklab.evaluation.robustness import clicks_generator
from clicklab.inference.mask_prediction import InitialMask
from clicklab.inference.predictor import Predictor
from clicklab.inference.state import SessionImage, SessionState
from clicklab.records import IGNORE, EvaluationObject, SkippedObject


@dataclass
class _Game:
    """An object being played."""

    item: EvaluationObject
    state: SessionState
    oracle: bool  # the best candidate is taken, instead of the network's choice
    target: Tensor  # (H, W) int8
    wanted: Tensor  # (H, W) bool, the object
    known: Tensor  # (H, W) bool, what is not ignored
    area: int  # of the object
    pred: Tensor  # (H, W) bool
    generator: np.random.Generator  # of the places of its clicks, under `click_spread`
    ious: list[float] = field(default_factory=list)
    boundary_ious: list[float] = field(default_factory=list)
    selections: int = 0
    changes: list[list[int]] = field(default_factory=list)
    seconds: float = 0.0
    initial_iou: float | None = None
    first_seconds: float = 0.0


def protocol_of(predictor: Predictor) -> EvaluationProtocol:
    """The protocol that a predictor was made with: what it obeys and what is counted is one record.

    Raises:
        TypeError: it was made with other options, which do not say how objects are played.
    """
    if not isinstance(predictor.options, EvaluationProtocol):
        raise TypeError("the predictor was made without a protocol: predictor_for(network, EvaluationProtocol())")
    return predictor.options


class LockstepPlayer:
    """Plays what is submitted, at most `batch_size` objects at a time; who is finished leaves, the next one enters.

    Clicks and IoUs are those of the official one-at-a-time protocol whatever the batch size.

    Wall time between two rounds (waiting for files included, as in the official SPC) is shared out over the objects of
    the round.
    """

    def __init__(self, predictor: Predictor, batch_size: int = BATCH_SIZE) -> None:
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size!r}")
        self.predictor = predictor
        self.protocol = protocol_of(predictor)
        self.batch_size = batch_size
        self._games: list[_Game] = []
        self._clock = 0.0

    def submit(
        self, item: EvaluationObject | SkippedObject, oracle: Sequence[bool] | None = None
    ) -> list[ObjectResult | SkippedObject]:
        """Takes one more object; returns what got finished to make room for it, and unplayable objects as skipped.

        Args:
            item: the object.
            oracle: how it is played, once for each entry: True takes the best candidate by the ground truth, False the
                network's choice. Its views are encoded once for both. Default: as the protocol says.
        """
        if isinstance(item, SkippedObject):
            return [item]
        reason = unplayable(item)
        if not reason and self.protocol.starts_from_mask and item.initial_mask is None:
            reason = "no mask to start from"
        if reason:
            return [SkippedObject(item.name, item.object, item.index, reason)]
        ways = [self.protocol.choice == "oracle"] if oracle is None else oracle
        finished: list[ObjectResult | SkippedObject] = []
        while self._games and len(self._games) + len(ways) > self.batch_size:
            finished += self._round()
        if not self._games:
            self._clock = time.perf_counter()
        image = SessionImage.from_array(item.image, self.predictor.device)
        self._games += [self._enter(item, image, way) for way in ways]  # together, so that they share encodings
        while len(self._games) >= self.batch_size:
            finished += self._round()
        return finished

    def drain(self) -> Iterator[ObjectResult]:
        """Plays everything that was submitted to its end."""
        while self._games:
            yield from self._round()

    def _enter(self, item: EvaluationObject, image: SessionImage, oracle: bool) -> _Game:
        target = torch.from_numpy(np.ascontiguousarray(item.target)).to(self.predictor.device)
        pred = torch.zeros(target.shape, dtype=torch.bool, device=target.device)
        area = int(np.count_nonzero(item.target == 1))
        generator = clicks_generator(item.index)
        known = target != IGNORE
        game = _Game(item, SessionState(image), oracle, target, target == 1, known, area, pred, generator)
        if self.protocol.starts_from_mask and item.initial_mask is not None:
            game.state = self._state_from_mask(image, item.initial_mask)
            game.pred = game.state.probability_tensor > self.predictor.mask_threshold
            (game.initial_iou,) = _ious(_overlaps(game.pred[None], game).tolist(), game)
        return game

    def _state_from_mask(self, image: SessionImage, mask: np.ndarray) -> SessionState:
        probability = torch.from_numpy(np.array(mask, dtype=np.float32)).to(self.predictor.device)
        return SessionState(image, prediction=InitialMask(probability))

    @torch.no_grad()
    def _round(self) -> list[ObjectResult]:
        for games in of_like_size(self._games):
            for game, (y, x, label) in zip(games, next_clicks(games, self.protocol.click_spread), strict=True):
                if game.item.clicks is not None:
                    y, x, label = game.item.clicks[len(game.ious)]
                game.state = game.state.with_click(y, x, bool(label))
        answered = self.predictor.predict([game.state for game in self._games])
        for game, state in zip(self._games, answered, strict=True):
            game.state = state
        self._measure()
        now = time.perf_counter()
        for game in self._games:
            game.seconds += (now - self._clock) / len(self._games)
            if len(game.ious) == 1:
                game.first_seconds = game.seconds
        self._clock = now
        finished = [game for game in self._games if self._is_finished(game)]
        self._games = [game for game in self._games if not self._is_finished(game)]
        return [self._result(game) for game in finished]

    def _measure(self) -> None:
        seen = [_selectable(game) > self.predictor.mask_threshold for game in self._games]
        counts = torch.cat([_overlaps(masks, game) for masks, game in zip(seen, self._games, strict=True)])
        rows = iter(counts.tolist())  # one wait for the device, for all of them
        for masks, game in zip(seen, self._games, strict=True):
            scored = _ious([next(rows) for _ in masks], game)
            best = max(range(len(scored)), key=scored.__getitem__)  # the first one on ties, as officially
            if len(scored) > 1:
                game.selections += best != game.state.chosen
                game.state = game.state.with_choice(best)
            game.pred = masks[best]
            game.ious.append(scored[best])
            game.changes.append(list(game.state.changes))
            if self.protocol.boundary_iou:
                game.boundary_ious.append(boundary_iou(game.pred, game.target))

    def _is_finished(self, game: _Game) -> bool:
        played = len(game.ious)
        reached = game.ious[-1] >= self.protocol.stop_iou and played >= self.protocol.min_clicks
        most = self.protocol.max_clicks
        if game.item.clicks is not None:  # a recorded dialogue ends with its last click
            most = min(most, len(game.item.clicks))
        return reached or played >= most

    def _result(self, game: _Game) -> ObjectResult:
        item = game.item
        return ObjectResult(
            index=item.index,
            name=item.name,
            object=item.object,
            clicks=[(int(y), int(x), label) for y, x, label in game.state.clicks],
            ious=np.asarray(game.ious, dtype=np.float32).tolist(),
            seconds=game.seconds,
            boundary_ious=game.boundary_ious if self.protocol.boundary_iou else None,
            selections=game.selections,
            changes=game.changes if self.protocol.cascade else None,
            initial_iou=game.initial_iou,
            first_seconds=game.first_seconds,
            oracle=game.oracle,
        )


def _selectable(game: _Game) -> Tensor:
    """(k, H, W) probability of the masks that may be taken: the network's choice, for the oracle all candidates."""
    prediction = game.state.prediction
    return prediction.maps() if prediction is not None and game.oracle else game.state.probability_tensor[None]


def _overlaps(masks: Tensor, game: _Game) -> Tensor:
    """(k, 2) pixels of masks (k, H, W) bool inside the object, and of all their pixels that are not ignored."""
    return torch.stack([(masks & game.wanted).sum((1, 2)), (masks & game.known).sum((1, 2))], dim=1)


def _ious(overlaps: list[list[int]], game: _Game) -> list[float]:
    """IoU with the object, one for each row of `_overlaps`."""
    return [shared / (pixels + game.area - shared) for shared, pixels in overlaps]


def unplayable(item: EvaluationObject) -> str | None:
    """Why an object cannot be played, None if it can."""
    if item.clicks is not None and not item.clicks:
        return "the recorded dialogue has no click"
    if item.image.ndim != 3 or item.image.shape[2] != 3 or item.image.dtype != np.uint8:
        return f"image is {item.image.shape} {item.image.dtype}, expected (H, W, 3) uint8"
    if item.target.shape != item.image.shape[:2]:
        return f"mask is {item.target.shape}, its image {item.image.shape[:2]}"
    if not (item.target == 1).any():
        return "empty mask"
    if item.initial_mask is not None and item.initial_mask.shape != item.target.shape:
        return f"initial mask is {item.initial_mask.shape}, its image {item.image.shape[:2]}"
    return None


def next_clicks(games: list[_Game], spread: float = 0.0) -> list[tuple[int, int, int]]:
    """(y, x, label) of the user for each game, in one call; smaller images are filled up with ignored pixels."""
    first = games[0].target
    size = (len(games), *(max(game.target.shape[axis] for game in games) for axis in (0, 1)))
    pred, clicked = first.new_zeros((2, *size), dtype=torch.bool)
    target = first.new_full(size, IGNORE)
    for row, game in enumerate(games):
        height, width = game.target.shape
        pred[row, :height, :width] = game.pred
        target[row, :height, :width] = game.target
    places = [(row, int(y), int(x)) for row, game in enumerate(games) for y, x, _ in game.state.clicks]
    if places:
        clicked[tuple(torch.tensor(places, device=first.device).T)] = True
    if spread > 0:
        chance = torch.tensor([game.generator.random() for game in games], dtype=torch.float64, device=first.device)
        yx, label = spread_click(pred, target, clicked, spread, chance)
    else:
        yx, label = robot_click(pred, target, clicked)
    rows = zip(yx.long().tolist(), label.tolist(), strict=True)
    return [(y, x, positive) for (y, x), positive in rows]


def of_like_size(games: list[_Game]) -> list[list[_Game]]:
    """Games in groups whose common frame has at most twice the pixels of the smallest: filling up stays cheap."""
    groups: list[list[_Game]] = []
    height = width = smallest = 0
    for game in sorted(games, key=lambda game: game.target.numel()):
        height, width = max(height, game.target.shape[0]), max(width, game.target.shape[1])
        if not groups or height * width > 2 * smallest:
            groups.append([])
            height, width = game.target.shape
            smallest = height * width
        groups[-1].append(game)
    return groups
