"""What a training step of every method is made of: operations that PyTorch starts, and arithmetic.

    python benchmarks/step_cost.py [--only METHOD[:VARIANT] ... | --all] [--output FILE.json]

A processor starts the operations one after the other, a GPU does the arithmetic: with few samples the first takes
longer, with many the second. Mean of four steps with 0 to 3 warm-up rounds, two samples each, in full precision on this
machine's CPU; the optimiser, of few operations on a GPU, is left out. `--all` takes a quarter of an hour. CFR-ICL,
whose three learnt passes of a ViT-H want more than 24 GB, is counted when asked for: `cfr_icl:base`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from model_cost import build, chosen, view_side
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from train_step import BORROWED, drawn_scenes, module_of

from clicklab.commands.errors import run_script
from clicklab.methods import METHODS

SMALL = ["simpleclick:xtiny", "ritm:hrnet18s"]
STEPS = 4
BATCH = 2  # a batch norm over 1 x 1 maps wants two
aten: Any = torch.ops.aten
# what PyTorch's table of operations has under the name of the GPU's kernel only
ALIKE = {
    aten._scaled_dot_product_flash_attention_for_cpu: aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: aten._scaled_dot_product_flash_attention_backward,
}
# nothing is started for new shapes of the same memory, or for memory that nobody fills
FREE = {
    "_local_scalar_dense", "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "diagonal", "empty",
    "empty_like", "empty_strided", "expand", "new_empty", "new_empty_strided", "permute", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view",
}  # fmt: skip


class Counter(TorchDispatchMode):
    """Counts while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.started, self.arithmetic = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        self.started += packet.__name__ not in FREE
        if counted := flop_registry.get(ALIKE.get(packet, packet)):
            self.arithmetic += counted(*args, **(kwargs or {}), out_val=answer)
        return answer


class Counts(pl.Callback):
    """A `Counter` from each step's beginning to its optimiser."""

    def __init__(self) -> None:
        self.counters: list[Counter] = []

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self.counters.append(Counter())
        self.counters[-1].__enter__()

    def on_before_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.counters[-1].__exit__(None, None, None)


def cost(method: str, variant: str) -> dict[str, Any]:
    """Operations started per step, and arithmetic per sample (a multiply-add counts as two)."""
    pl.seed_everything(0, verbose=False)
    side = view_side(build(BORROWED.get(method, method), variant, "meta"))
    counts = Counts()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[counts],
    )
    scenes = drawn_scenes(BATCH, crop=side, side=max(96, side * 4 // 3), steps=STEPS, warm_up=0, workers=0)
    module = module_of(method, variant)
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.0)  # no memory of its own
    trainer.fit(module, datamodule=scenes)
    started = sum(counter.started for counter in counts.counters) / STEPS
    arithmetic = sum(counter.arithmetic for counter in counts.counters) / STEPS / BATCH
    return {"method": method, "variant": variant, "crop": side, "started": started, "arithmetic": arithmetic}


def trainings(only: list[str]) -> Iterator[tuple[str, str]]:
    """(method, variant) to count: those asked for, or all with a network of their own; else the lender's sizes."""
    for wish in only or METHODS:
        method, colon, variant = wish.partition(":")
        for _, name in chosen([BORROWED.get(method, method) + colon + variant]):
            yield method, name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument("--only", nargs="+", default=SMALL, metavar="METHOD[:VARIANT]", help="default: %(default)s")
    networks.add_argument("--all", action="store_true", help="all networks that are published")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/step_cost.json"), metavar="FILE")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")  # Lightning's remarks on a run that is meant to be this short
    print(f"{'network':<24}{'crop':>5}{'operations started':>20}{'arithmetic per sample G':>26}")
    results = []
    for method, variant in trainings([] if options.all else options.only):
        results.append(cost(method, variant))
        network = f"{method} {variant}"
        print(
            f"{network:<24}{results[-1]['crop']:>5}{results[-1]['started']:>20.0f}"
            f"{results[-1]['arithmetic'] / 1e9:>26.1f}",
            flush=True,
        )
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"networks": results}, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
