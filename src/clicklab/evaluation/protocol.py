"""How an object is played and counted: the record of an evaluation, printed with every result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args

from clicklab.inference.options import InferenceOptions, Preset

if TYPE_CHECKING:
    from clicklab.nn.network import ClickNetwork

Choice = Literal["both", "automatic", "oracle"]
ORACLE = "-oracle"  # stands behind a dataset's name where the best candidate was picked by the ground truth
BATCH_SIZE = 8  # objects in lockstep where nobody says otherwise


@dataclass(frozen=True)
class EvaluationProtocol(InferenceOptions):
    """How objects are clicked, stopped and counted, and (inherited) what the network sees meanwhile.

    The defaults are the official ones of RITM and SimpleClick. Fields of `InferenceOptions` mean the same here.

    Attributes:
        preset: as in `InferenceOptions`; an evaluation keeps the quirks of official code unless told otherwise.
        max_clicks: clicks per object; an object that never reaches a threshold counts with this number.
        min_clicks: no object stops earlier.
        target_iou: an object stops when its IoU reaches this. None: the highest threshold. 1.01: never, all clicks are
            played, which mean-IoU curves need (an object that stops early counts there with its last IoU). Official
            scripts stop RITM and SimpleClick at 0.90; NoC does not depend on it, because the first crossing counts.
        thresholds: IoUs of NoC and NoF.
        boundary_iou: measure BIoU after every click as well.
        initial_masks: start from the masks that a dataset brings (DAVIS585); an object without one is skipped. False:
            every dialogue starts from nothing, as in all tables of NoC, whatever the dataset brings.
        perturb_iou: start from the target, spoilt at random to this IoU (VTMR, Table 3: 0.8). None: do not.
        click_spread: where the user clicks. 0: the deepest pixel of the deeper error, as officially. Above: uniformly
            among the pixels of that error at least (1 - spread) times as deep; 1: anywhere in it. Real people's clicks
            cost 6 to 29 % more than the deepest pixel (RClicks).
        repeats: runs of every object under `perturb_iou` or `click_spread`, each with another mask or other clicks; all
            of them are counted.
        recorded_clicks: name and checksum of the file whose dialogues are replayed: objects carry the clicks that a
            person made (`EvaluationObject.clicks`), and end with the last of them. None: the simulated user clicks.
        choice: which of several candidates becomes the mask: the one with the best score (`automatic`), or the one with
            the largest IoU with the target (`oracle`), as in PiClick's published tables: the user picks, for free.
            `both` plays every object twice where a network answers several, see `plays`. Rows that the oracle chose
            are called so.
        late_success_fails: quirk of official code: NoF (">=20@90") counts an object that succeeds exactly at the last
            click as a failure. None: as the preset says.

    Raises:
        ValueError: naming the field.
    """

    preset: Preset = "official"
    max_clicks: int = 20
    min_clicks: int = 1
    target_iou: float | None = None
    thresholds: tuple[float, ...] = (0.85, 0.90, 0.95)
    boundary_iou: bool = False
    initial_masks: bool = False
    perturb_iou: float | None = None
    click_spread: float = 0.0
    repeats: int = 10
    recorded_clicks: str | None = None
    choice: Choice = "both"
    late_success_fails: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_clicks", "min_clicks", "repeats"):
            self._check_whole(name)
        self._check(isinstance(self.thresholds, (tuple, list)), "thresholds", "a list of IoUs, for example [0.9]")
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        self._check(self.max_clicks >= 1, "max_clicks", "1 or more")
        self._check(1 <= self.min_clicks <= self.max_clicks, "min_clicks", f"from 1 to max_clicks ({self.max_clicks})")
        self._check(self.choice in get_args(Choice), "choice", "both, automatic or oracle")
        self._check(bool(self.thresholds), "thresholds", "at least one IoU")
        self._check(all(0 < t <= 1 for t in self.thresholds), "thresholds", "IoUs between 0 and 1, for example 0.9")
        self._check(
            self.target_iou is None or self.target_iou >= max(self.thresholds),
            "target_iou",
            f"at least the highest threshold ({max(self.thresholds)}), or objects would stop before they are measured",
        )
        self._check(self.perturb_iou is None or 0 < self.perturb_iou < 1, "perturb_iou", "between 0 and 1")
        self._check(
            self.perturb_iou is None or not self.initial_masks, "initial_masks", "false together with perturb_iou"
        )
        self._check(0 <= self.click_spread <= 1, "click_spread", "from 0 (deepest pixel) to 1 (anywhere in the error)")
        self._check(self.repeats >= 1, "repeats", "1 or more")
        self._check(
            self.recorded_clicks is None or (self.perturb_iou is None and not self.click_spread),
            "recorded_clicks",
            "without perturb_iou and click_spread: people clicked where they clicked",
        )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> EvaluationProtocol:
        """The protocol with some fields set by name.

        Raises:
            TypeError: no field has such a name; the message gives the nearest one.
            ValueError: as the constructor.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise TypeError(f"there is no option {name!r}; {hint}")
        return cls(**options)

    @property
    def stop_iou(self) -> float:
        """The IoU at which an object stops."""
        return max(self.thresholds) if self.target_iou is None else self.target_iou

    @property
    def starts_from_mask(self) -> bool:
        """Whether objects are played from a mask that is there before the first click."""
        return self.initial_masks or self.perturb_iou is not None

    @property
    def runs(self) -> int:
        """How often every object is played."""
        return self.repeats if self.perturb_iou is not None or self.click_spread > 0 else 1

    def plays(self, network: ClickNetwork) -> dict[str, EvaluationProtocol]:
        """What to add to a dataset's name -> how to play it: once, or automatically and again with `ORACLE`."""
        several = network.num_candidates > 1
        ways: dict[str, EvaluationProtocol] = {}
        if self.choice != "oracle" or not several:
            ways[""] = replace(self, choice="automatic")
        if self.choice != "automatic" and several:
            ways[ORACLE] = replace(self, choice="oracle")
        return ways

    def to_dict(self, network: ClickNetwork | None = None) -> dict[str, Any]:
        """As `InferenceOptions.to_dict`."""
        late = self.quirk("late_success_fails")
        return super().to_dict(network) | {"target_iou": self.stop_iou, "late_success_fails": late}
