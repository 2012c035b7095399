"""What a network sees and how its answer is read: one record for sessions, evaluation, exports and tools."""

from __future__ import annotations

import platform
import re
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from clicklab.views.zoom_in import Size, ZoomIn

if TYPE_CHECKING:
    from clicklab.nn.network import ClickNetwork

Preset = Literal["official", "clean"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]  # Lightning's names
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FIXED = re.compile(r"fixed(\d+)(?:,(\d+))?")  # the official evaluation mode `fixed<N>` or `fixed<height>,<width>`
# What official code does that changes numbers and nobody would do on purpose: `official` keeps all, `clean` none.
QUIRKS = (
    "stale_region",
    "logit_memory",
    "crossed_pairs",
    "cascade_once",
    "focus_on_logits",
    "unchanged_click",
)


@dataclass(frozen=True)
class InferenceOptions:
    """What a network sees of an image and its clicks, and how its answer becomes a mask.

    The defaults are those of a person's session. An evaluation has the same fields with the preset `official`
    (`clicklab.evaluation.protocol.EvaluationProtocol`).

    Attributes:
        preset: `official` keeps the quirks of official code, `clean` drops them; each can be set by itself below.
        mask_threshold: a pixel belongs to the mask when its probability is larger (strictly). None: what the network
            asks for, mostly 0.49. A-CFR and PiClick's pairs of candidates go by 0.49 all the same, as officially.
        flip: average the logits of the view and its mirror image. None: what the network asks for.
        eval_mode: an official evaluation mode by its name. `cvpr`: the network's own zoom-in, which is the default.
            `fixed<N>` or `fixed<height>,<width>`: a view of exactly this size, from the first click on.
        zoom: False: no zoom-in at all, the network sees the full image.
        zoom_in: replaces the network's own zoom-in rule.
        zoom_size: replaces only the target size of the zoom-in: the longer side, or (height, width). RITM goes on
            seeing the untouched image at the first click; for the official `fixed<N>` see `eval_mode`.
        view_scale: the view is so many times larger. None: what the dataset asks for (DAVIS 1.5). Official code does
            not scale a size given by hand, so it has no effect together with `zoom_size` or `fixed<N>`.
        longest_side: a view with a longer side is shrunk to it; FocalClick's views of one size are not. No official
            evaluation does so. The demos of RITM and SimpleClick do, and agree where all views have one size; after a
            zoom-in to another one they put the answer at the place and size of an earlier view, or stop, which is not
            done here.
        net_clicks_limit: the network is shown only the first clicks; the zoom-in sees all, and so does FocalClick's
            refiner. `--clicks-limit` of RITM.
        cascade: passes of cascade-forward refinement after a click (CFR-n), each from the mask before it; 0: none.
        cascade_adaptive: A-CFR: an object stops refining when a pass changes at most `cascade_pixels`.
        cascade_pixels: pixels of the mask in the full image (20 in code and paper).
        precision: of the network: float32, or where PyTorch's autocast allows it bfloat16 or float16. Both move some
            clicks, float16 with its eight times finer steps fewer; a network that outgrows its range is an error.
        stale_region: quirk of RITM, zooming to a longer side, and of FocalClick: after a zoom an empty mask makes the
            network see the whole image, but its answer is squeezed into the old region. None: as the preset says.
        logit_memory: quirk of PiClick: the zoom-in compares its threshold with logits, not probabilities (0.5 is 0.62
            of those). None: as the preset says.
        crossed_pairs: quirk of PiClick: candidates of view and mirror are paired by a permutation where its inverse is
            meant. None: as the preset says.
        cascade_once: quirk of CFR-ICL: only the answer to the first click is refined unless the command says otherwise;
            in the paper all of them are. None: as the preset says. False: every click is refined.
        focus_on_logits: quirk of FocalClick: the focus crop compares its threshold with logits, not probabilities
            (0.49: 0.62). None: as the preset says.
        unchanged_click: quirk of FocalClick: where a click did not change its pixel, the change "at the click" is all
            that did not change: progressive merge wipes or floods the mask, the focus crop takes in the whole target
            crop. None: as the preset says.

    Raises:
        ValueError: naming the field.
    """

    preset: Preset = "clean"
    mask_threshold: float | None = None
    flip: bool | None = None
    eval_mode: str | None = None
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
    stale_region: bool | None = None
    logit_memory: bool | None = None
    crossed_pairs: bool | None = None
    cascade_once: bool | None = None
    focus_on_logits: bool | None = None
    unchanged_click: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.zoom_size, list):
            object.__setattr__(self, "zoom_size", tuple(self.zoom_size))
        for name in ("longest_side", "net_clicks_limit", "cascade", "cascade_pixels"):
            self._check_whole(name)
        self._check(self.preset in get_args(Preset), "preset", "official or clean")
        self._check(self.mask_threshold is None or 0 < self.mask_threshold < 1, "mask_threshold", "between 0 and 1")
        self._check_zoom()
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

    def _check_zoom(self) -> None:
        self._check(self.zoom_in is None or isinstance(self.zoom_in, ZoomIn), "zoom_in", "a ZoomIn; a size: zoom_size")
        self._check(not isinstance(self.zoom_size, str), "zoom_size", "a number or a pair (height, width)")
        self._check(self.zoom_size is None or self.zoom, "zoom_size", "left out when zoom is off")
        self._check(self.view_scale is None or self.view_scale > 0, "view_scale", "positive")
        if self.zoom_size is not None:
            ZoomIn(self.zoom_size)
        if self.eval_mode is not None:
            known = self.eval_mode == "cvpr" or FIXED.fullmatch(str(self.eval_mode))
            self._check(bool(known), "eval_mode", "cvpr, fixed<N> or fixed<height>,<width>, for example fixed400")
            self._check(self.zoom and self.zoom_size is None, "eval_mode", "left out together with zoom or zoom_size")
            self._check(min(self._fixed_size() or (1,)) > 0, "eval_mode", "a view of at least one pixel")

    def _check_whole(self, name: str) -> None:
        value = getattr(self, name)
        self._check(value is None or isinstance(value, Integral), name, "a whole number")

    def _check(self, fine: bool, name: str, wanted: str) -> None:
        if not fine:
            raise ValueError(f"{name} is {getattr(self, name)!r}, expected {wanted}")

    def quirk(self, name: str) -> bool:
        """Whether a quirk of official code is on (`QUIRKS`)."""
        chosen = getattr(self, name)
        return self.preset == "official" if chosen is None else chosen

    def for_network(self, network: ClickNetwork) -> Self:
        """The same settings, with what they leave to the network filled in.

        Raises:
            ValueError: refinement from the previous mask is asked of a network that does not read it.
        """
        if self.cascade and not network.reads_prev_mask:
            raise ValueError(
                f"cascade is {self.cascade}, but {network.class_name} does not read the previous mask, so that "
                "cascade-forward refinement (CFR, A-CFR) would answer the same again: leave it out"
            )
        flip = network.flip if self.flip is None else self.flip
        threshold = network.mask_threshold if self.mask_threshold is None else self.mask_threshold
        return replace(self, flip=flip, mask_threshold=threshold)

    def refines(self, clicks: int) -> bool:
        """Whether the answer to click number `clicks` (from 1) is refined."""
        return self.cascade > 0 and (clicks <= 1 or not self.quirk("cascade_once"))

    def zoom_for(self, network: ClickNetwork, view_scale: float = 1.0) -> ZoomIn | None:
        """The zoom-in rule for a network on a dataset that asks for `view_scale`; None: no zoom-in."""
        if not self.zoom:
            return None
        rule = self.zoom_in or network.zoom_in
        if fixed := self._fixed_size():
            return replace(rule or ZoomIn(), target_size=fixed, first_size=None, skip_clicks=-1)
        if rule is None:
            return None
        if self.zoom_size is not None:
            return replace(rule, target_size=self.zoom_size, first_size=None)
        return rule.scaled(view_scale if self.view_scale is None else self.view_scale)

    def _fixed_size(self) -> Size | None:
        """(height, width) of the evaluation mode `fixed<N>`."""
        found = FIXED.fullmatch(self.eval_mode or "")
        if found is None:
            return None
        height, width = found[1], found[2] or found[1]
        return int(height), int(width)

    def to_dict(self, network: ClickNetwork | None = None) -> dict[str, Any]:
        """Everything that a result depends on, ready for JSON: settings, resolved quirks, zoom-in used, versions."""
        filled = self if network is None else self.for_network(network)
        settings = asdict(filled) | {name: self.quirk(name) for name in QUIRKS}
        if network is not None:
            zoom_in = self.zoom_for(network)
            settings["zoom_in"] = None if zoom_in is None else asdict(zoom_in)
            settings["network"] = network.class_name
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
