"""Parameters and arithmetic of every method's networks: what the first click on a view costs, and every later one.

    python benchmarks/model_cost.py [--only METHOD[:VARIANT] ...] [--seconds N] [--output FILE.json]

A multiply-add counts as two operations; norms, activations and resampling are not counted. The first click is `start`
plus `step`; a later one on the same view is `step` alone, because the state is kept. FocalClick's focus view comes on
top. The published columns are those of iCMFormer's Table 3. Their tool, thop, counts two as well, but no products of
activations with activations (attention), so compare them with the column `weights`; experiments/icmformer/README.md
explains what is left. Networks live on PyTorch's meta device, so that the largest cost no memory; `--seconds` builds
them and measures N clicks on this machine's CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from clicklab.commands.errors import run_script
from clicklab.methods import METHODS, method_package
from clicklab.nn.variants import Variants
from clicklab.records import Clicks

# (method, variant) -> side of the input in pixels, millions of parameters, billions of operations (iCMFormer, Table 3).
# It prints 224 for Swin-S, but the released code gives its number at 384 (docs/methods/icmformer.md#what-surprises).
PUBLISHED = {
    ("ritm", "hrnet18s"): (400, 4.22, 17.84),
    ("ritm", "hrnet18"): (400, 10.03, 30.80),
    ("ritm", "hrnet32"): (400, 30.95, 82.84),
    ("focalclick", "b0"): (256, 3.72, 3.54),
    ("focalclick", "b3"): (256, 45.66, 25.34),
    ("icmformer", "base"): (448, 124.81, 297.54),
    ("icmformer", "swin_small"): (384, 68.14, 106.74),
    ("icmformer", "swin_base"): (384, 104.25, 153.78),
}
OURS = ("tiny", "mini")  # last part of the names of sizes that no paper has
ACTIVATIONS = ("bmm", "scaled_dot_product")  # products in which no weight takes part


def chosen(only: list[str]) -> Iterator[tuple[str, str]]:
    """(method, variant) to measure: those asked for, or all that papers and releases have."""
    for wish in only or METHODS:
        method, _, variant = wish.partition(":")
        variants = variants_of(method)
        if variant and variant not in variants:
            known = ", ".join(variants) or "no network of its own"
            raise SystemExit(f"{method} has no variant {variant!r}; it has {known}")
        for name in [variant] if variant else variants:
            if variant or name.split("_")[-1] not in OURS:
                yield method, name


def variants_of(method: str) -> list[str]:
    """Names of all sizes of the networks that a method's package offers; none where it borrows its network."""
    offered = vars(method_package(method)).values()
    networks = [entry for entry in offered if isinstance(entry, type) and issubclass(entry, Variants)]
    return [name for network in networks for name in network.variants]


def build(method: str, variant: str, device: str) -> Any:
    """The untrained network in eval mode."""
    with torch.device(device):
        return method_package(method).build({"variant": variant, "network_options": {}}).eval().requires_grad_(False)


def view_side(network: Any) -> int:
    """Side of the square that the network usually looks at."""
    zoom_in = getattr(network, "zoom_in", None)
    size = 448 if zoom_in is None else zoom_in.target_size
    return size if isinstance(size, int) else max(size)


def inputs(side: int, device: str) -> tuple[torch.Tensor, Clicks, Clicks, torch.Tensor]:
    """A grey image, one click, two clicks, an empty previous mask."""
    image = torch.full((1, 3, side, side), 0.5, device=device)
    two = [(side / 2, side / 2, 1), (side / 4, side / 4, 0)]
    return image, Clicks.from_list([two[:1]], device), Clicks.from_list([two], device), torch.zeros_like(image[:, :1])


@torch.no_grad()
def operations(network: Any, side: int) -> dict[str, dict[str, float]]:
    """Billions of operations of the first and a later click: `all`, and `weights` without attention products."""
    image, one, two, prev_mask = inputs(side, "meta")
    with FlopCounterMode(display=False) as first:
        answer = network(image, one, prev_mask)
    with FlopCounterMode(display=False) as later:
        network.step(answer.state, two, prev_mask)
    counted = {"first": first, "later": later}
    return {click: _sums(counter.get_flop_counts().get("Global", {})) for click, counter in counted.items()}


def _sums(counts: Mapping[Any, int]) -> dict[str, float]:
    weights = sum(n for operator, n in counts.items() if not any(part in str(operator) for part in ACTIVATIONS))
    return {"all": sum(counts.values()) / 1e9, "weights": weights / 1e9}


@torch.no_grad()
def seconds(network: Any, side: int, repeats: int) -> dict[str, float]:
    """Median seconds of the first and a later click; and how far the later answer is from one without kept state."""
    image, one, two, prev_mask = inputs(side, "cpu")
    straight = network(image, two, prev_mask).logits  # warms up, too
    spent: dict[str, list[float]] = {"first": [], "later": []}
    difference = 0.0
    for _ in range(repeats):
        began = time.perf_counter()
        state = network(image, one, prev_mask).state
        middle = time.perf_counter()
        answer = network.step(state, two, prev_mask)
        spent["first"].append(middle - began)
        spent["later"].append(time.perf_counter() - middle)
        difference = (answer.logits - straight).abs().max().item()
    return {click: median(times) for click, times in spent.items()} | {"difference": difference}


def row(method: str, variant: str, repeats: int) -> dict[str, Any]:
    """Everything about one network."""
    network = build(method, variant, "meta")
    published = PUBLISHED.get((method, variant))
    side = published[0] if published else view_side(network)
    result = {
        "method": method,
        "variant": variant,
        "side": side,
        "parameters": sum(p.numel() for p in network.parameters()) / 1e6,
        "operations": operations(network, side),
        "published": dict(zip(("side", "parameters", "operations"), published, strict=True)) if published else None,
    }
    if repeats:
        result["seconds"] = seconds(build(method, variant, "cpu"), side, repeats)
    return result


def line(result: dict[str, Any]) -> str:
    """One row of the table."""
    first, later = result["operations"]["first"], result["operations"]["later"]
    text = f"{result['method'] + ' ' + result['variant']:<24}{result['side']:>5}{result['parameters']:>10.2f}"
    text += f"{first['all']:>10.2f}{later['all']:>10.2f}{saved(first['all'], later['all'])}{first['weights']:>11.2f}"
    published = result["published"] or {}
    for name in ("parameters", "operations"):
        text += f"{published[name]:>14.2f}" if published else f"{'-':>14}"
    if times := result.get("seconds"):
        text += f"{times['first']:>10.3f}{times['later']:>10.3f}{saved(times['first'], times['later'])}"
        text += f"{times['difference']:>12.1e}"
    return text


def saved(first: float, later: float) -> str:
    """The share that a later click is spared, as a column."""
    return f"{1 - later / first:>8.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="METHOD[:VARIANT]", help="default: all that are published"
    )
    parser.add_argument("--seconds", type=int, default=0, metavar="N", help="measure N clicks as well (default: none)")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/model_cost.json"), metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = f"{'network':<24}{'side':>5}{'params M':>10}{'first G':>10}{'later G':>10}{'saved':>8}{'weights G':>11}"
    head += f"{'published M':>14}{'published G':>14}"
    print(head + (f"{'first s':>10}{'later s':>10}{'saved':>8}{'difference':>12}" if options.seconds else ""))
    results = []
    for method, variant in chosen(options.only):
        results.append(row(method, variant, options.seconds))
        print(line(results[-1]), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    convention = "operations in billions, a multiply-add counts as two"
    options.output.write_text(json.dumps({"convention": convention, "networks": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_script(main))
