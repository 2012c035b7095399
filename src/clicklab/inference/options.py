"""The settings of an evaluation, all in one record that is printed with every result."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from numbers import Integral
from typing import Any, Literal, get_args

from torch import nn

from clicklab.views.frames import Size, ZoomIn

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]  # Lightning's names
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
WHOLE = ("max_clicks", "min_clicks", "longest_side", "net_clicks_limit", "cascade", "cascade_pixels", "repeats")
ORACLE = "-oracle"  # stands behind a dataset's name where the best candidate was picked by the ground truth
# What official code does that changes numbers and nobody would do on purpose: `official` keeps all, `clean` none.
QUIRKS = {
    "stale_region": "RITM, zoom to a longer side, and FocalClick: after a zoom an empty mask makes the network see the "
    "whole image, but its answer is squeezed into the old region",
    "logit_memory": "PiClick: the zoom-in compares its threshold with logits, not probabilities (0.5 is 0.62 of those)",
    "crossed_pairs": "PiClick: candidates of view and mirror are paired by a permutation where its inverse is meant",
    "cascade_once": "CFR-ICL: only the answer to the first click is refined unless the command says otherwise; in the "
    "paper all of them are",
    "focus_on_logits": "FocalClick: the focus crop compares its threshold with logits, not probabilities (0.49: 0.62)",
    "unchanged_click": "FocalClick: where a click did not change its pixel, the change 'at the click' is all that did "
    "not change: progressive merge wipes or floods the mask, the focus crop takes in the whole target crop",
    "late_success_fails": "NoF ('>=20@90') counts an object that succeeds exactly at the last click as a failure",
}


@dataclass(frozen=True)
class Protocol:
    """How objects are clicked, seen and counted. The defaults are the official ones of RITM and SimpleClick.

    Attributes:
        preset: `official` keeps the quirks of official code, `clean` drops them; each can be set by itself below.
        mask_threshold: a pixel belongs to the mask when its probability is larger (strictly). None: what the network
            asks for by its attribute `mask_threshold`, or else 0.49. A-CFR and PiClick's pairs of candidates go by 0.49
            all the same, as officially.
        max_clicks: clicks per object; an object that never reaches a threshold counts with this number.
        min_clicks: no object stops earlier.
        target_iou: an object stops when its IoU reaches this. None: the highest threshold. 1.01: never, all clicks are
            played, which mean-IoU curves need (an object that stops early counts there with its last IoU). Official
            scripts stop RITM and SimpleClick at 0.90; NoC does not depend on it, because the first crossing counts.
        thresholds: IoUs of NoC and NoF.
        flip: average the logits of the view and its mirror image. None: what the network asks for by its attribute
            `flip`, or else True.
        zoom: False: no zoom-in at all, the network sees the full image.
        zoom_in: replaces the network's own zoom-in rule.
        zoom_size: replaces only its target size (official `fixed<N>` is (N, N)).
        view_scale: the view is so many times larger. None: what the dataset asks for (DAVIS 1.5). Official code does
            not scale a size given by hand, so it has no effect together with `zoom_size`.
        longest_side: a view with a longer side is shrunk to it; FocalClick's views of one size are not. No official
            evaluation does so. The demos of RITM and SimpleClick do, and agree where all views have one size; after a
            zoom-in to another one they put the answer at the place and size of an earlier view, or stop, which is not
            done here.
        net_clicks_limit: the network is shown only the first clicks; the zoom-in sees all, and so does FocalClick's
            refiner.
        cascade: passes of cascade-forward refinement after a click (CFR-n), each from the mask before it; 0: none.
        cascade_adaptive: A-CFR: an object stops refining when a pass changes at most `cascade_pixels`.
        cascade_pixels: pixels of the mask in the full image (20 in code and paper).
        precision: of the network: float32, or where PyTorch's autocast allows it bfloat16 or float16. Both move some
            clicks, float16 with its eight times finer steps fewer; a network that outgrows its range is an error.
        boundary_iou: measure BIoU after every click as well.
        initial_masks: start from the masks that a dataset brings (DAVIS585); an object without one is skipped. False:
            every dialogue starts from nothing, as in all tables of NoC, whatever the dataset brings.
        perturb_iou: start from the target, spoilt at random to this IoU (VTMR, Table 3: 0.8); None: do not.
        repeats: runs of every object under `perturb_iou`, each with another mask; all of them are counted.
        choice: which of several candidates becomes the mask: the one with the best score (`automatic`), or the one with
            the largest IoU with the target (`oracle`), as in PiClick's published tables: the user picks, for free.
            `both` plays every object twice where a network answers several, see `plays`. Rows that the oracle chose
            are called so.
        stale_region: see QUIRKS; None: as the preset says.
        logit_memory: see QUIRKS; None: as the preset says.
        crossed_pairs: see QUIRKS; None: as the preset says.
        cascade_once: see QUIRKS; None: as the preset says. False: every click is refined.
        focus_on_logits: see QUIRKS; None: as the preset says.
        unchanged_click: see QUIRKS; None: as the preset says.
        late_success_fails: see QUIRKS; None: as the preset says.

    Raises:
        ValueError: naming the field.
    """

    preset: Literal["official", "clean"] = "official"
    mask_threshold: float | None = None
    max_clicks: int = 20
    min_clicks: int = 1
    target_iou: float | None = None
    thresholds: tuple[float, ...] = (0.85, 0.90, 0.95)
    flip: bool | None = None
    zoom: bool = True
    zoom_in: ZoomIn | None = None
    zoom_size: int | Size | None = None
    view_scale: float | None = None
    longest_side: int | None = None
    net_clicks_limit: int | None = None
    cascade: int = 0
    cascade_adaptive: bool = False
    cascade_pixels: int = 20
    precision: Precision = "32-true"
    boundary_iou: bool = False
    initial_masks: bool = False
    perturb_iou: float | None = None
    repeats: int = 10
    choice: Literal["both", "automatic", "oracle"] = "both"
    stale_region: bool | None = None
    logit_memory: bool | None = None
    crossed_pairs: bool | None = None
    cascade_once: bool | None = None
    focus_on_logits: bool | None = None
    unchanged_click: bool | None = None
    late_success_fails: bool | None = None

    def __post_init__(self) -> None:
        for name in WHOLE:
            value = getattr(self, name)
            self._check(value is None or isinstance(value, Integral), name, "a whole number")
        self._check(isinstance(self.thresholds, (tuple, list)), "thresholds", "a list of IoUs, for example [0.9]")
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        if isinstance(self.zoom_size, list):
            object.__setattr__(self, "zoom_size", tuple(self.zoom_size))
        self._check(self.preset in ("official", "clean"), "preset", "official or clean")
        self._check(self.mask_threshold is None or 0 < self.mask_threshold < 1, "mask_threshold", "between 0 and 1")
        self._check(self.max_clicks >= 1, "max_clicks", "1 or more")
        self._check(1 <= self.min_clicks <= self.max_clicks, "min_clicks", f"from 1 to max_clicks ({self.max_clicks})")
        self._check(self.choice in ("both", "automatic", "oracle"), "choice", "both, automatic or oracle")
        self._check(bool(self.thresholds), "thresholds", "at least one IoU")
        self._check(all(0 < t <= 1 for t in self.thresholds), "thresholds", "IoUs between 0 and 1, for example 0.9")
        self._check(
            self.target_iou is None or self.target_iou >= max(self.thresholds),
            "target_iou",
            f"at least the highest threshold ({max(self.thresholds)}), or objects would stop before they are measured",
        )
        self._check(self.zoom_in is None or isinstance(self.zoom_in, ZoomIn), "zoom_in", "a ZoomIn; a size: zoom_size")
        self._check(not isinstance(self.zoom_size, str), "zoom_size", "a number or a pair (height, width)")
        self._check(self.zoom_size is None or self.zoom, "zoom_size", "left out when zoom is off")
        self._check(self.view_scale is None or self.view_scale > 0, "view_scale", "positive")
        self._check(self.longest_side is None or self.longest_side >= 1, "longest_side", "1 or more")
        self._check(self.net_clicks_limit is None or self.net_clicks_limit >= 1, "net_clicks_limit", "1 or more")
        self._check(self.cascade >= 0, "cascade", "0 (no refinement) or more passes")
        self._check(
            self.cascade > 0 or not self.cascade_adaptive,
            "cascade_adaptive",
            "false, or cascade=N for at most N passes",
        )
        self._check(self.cascade_pixels >= 0, "cascade_pixels", "0 or more")
        self._check(self.precision in PRECISIONS, "precision", " or ".join(PRECISIONS))
        self._check(self.perturb_iou is None or 0 < self.perturb_iou < 1, "perturb_iou", "between 0 and 1")
        self._check(
            self.perturb_iou is None or not self.initial_masks, "initial_masks", "false together with perturb_iou"
        )
        self._check(self.repeats >= 1, "repeats", "1 or more")
        if self.zoom_size is not None:
            ZoomIn(self.zoom_size)

    def _check(self, fine: bool, name: str, wanted: str) -> None:
        if not fine:
            raise ValueError(f"protocol: {name} is {getattr(self, name)!r}, wanted: {wanted}")

    @property
    def stop_iou(self) -> float:
        """The IoU at which an object stops."""
        return max(self.thresholds) if self.target_iou is None else self.target_iou

    @property
    def starts_from_mask(self) -> bool:
        """Whether objects are played from a mask that is there before the first click."""
        return self.initial_masks or self.perturb_iou is not None

    def quirk(self, name: str) -> bool:
        """Whether a quirk of `QUIRKS` is on."""
        chosen = getattr(self, name)
        return self.preset == "official" if chosen is None else chosen

    def for_network(self, network: nn.Module) -> Protocol:
        """The same settings, with what they leave to the network filled in."""
        flip = getattr(network, "flip", True) if self.flip is None else self.flip
        threshold = getattr(network, "mask_threshold", 0.49) if self.mask_threshold is None else self.mask_threshold
        return replace(self, flip=flip, mask_threshold=threshold)

    def refines(self, clicks: int) -> bool:
        """Whether the answer to click number `clicks` (from 1) is refined."""
        return self.cascade > 0 and (clicks <= 1 or not self.quirk("cascade_once"))

    def plays(self, network: nn.Module) -> dict[str, Protocol]:
        """What to add to a dataset's name -> how to play it: once, or automatically and again with `ORACLE`."""
        several = getattr(network, "candidates", 1) > 1
        ways: dict[str, Protocol] = {}
        if self.choice != "oracle" or not several:
            ways[""] = replace(self, choice="automatic")
        if self.choice != "automatic" and several:
            ways[ORACLE] = replace(self, choice="oracle")
        return ways

    def zoom_for(self, network: nn.Module, view_scale: float = 1.0) -> ZoomIn | None:
        """The zoom-in rule for a network on a dataset that asks for `view_scale`; None: no zoom-in."""
        if not self.zoom:
            return None
        rule = self.zoom_in or getattr(network, "zoom_in", ZoomIn())
        if rule is None:
            return None
        if self.zoom_size is not None:
            return replace(rule, target_size=self.zoom_size)
        return rule.scaled(view_scale if self.view_scale is None else self.view_scale)

    def to_dict(self, network: nn.Module | None = None) -> dict[str, Any]:
        """Everything that a result depends on, ready for JSON: settings, resolved quirks, zoom-in used, versions."""
        filled = self if network is None else self.for_network(network)
        settings = asdict(filled) | {name: self.quirk(name) for name in QUIRKS} | {"target_iou": self.stop_iou}
        if network is not None:
            zoom_in = self.zoom_for(network)
            settings["zoom_in"] = None if zoom_in is None else asdict(zoom_in)
            settings["network"] = type(network).__name__
        return plain(settings) | {"versions": versions()}


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    found = {"python": platform.python_version()}
    for package in ("clicklab", "torch", "numpy", "opencv-python-headless"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def plain(value: Any) -> Any:
    """Tuples as lists, as JSON reads them back."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
