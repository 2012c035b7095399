"""Training steps of the released trainer of SimpleClick or RITM and of ours: same weights and batches, in turns.

    python benchmarks/against_official/train_step.py CODE xtiny [--gpu]

CODE is the fetched repository (released.py says which). A step is the rounds without gradient, the learning pass,
backward and Adam, on batches that were prepared before; the loop around it (data, logging) is not counted. The first
step has no rounds: both losses are of the same clicks.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from statistics import mean, median
from types import SimpleNamespace
from typing import Any

import released
import torch
from torch import Tensor
from turns import Side, Work

from clicklab.commands.errors import run_script
from clicklab.records import Batch
from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.process_memory import keep_freed_memory
from data_modules.simulation import SimulatedUser
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

CROP = 448  # the one size of the released ViTs
ROUNDS = (0, 2, 1, 3)  # of clicks before the learning pass, one step after the other: the mean of the published 0..3
SLOTS = 24  # of the released code's click lists, for each label
WAYS: dict[str, dict[str, Any]] = {
    "32-true": {},
    "bf16-mixed": {"autocast": True},
    "32-true, checkpointed blocks": {"network_options": {"checkpoint_blocks": True}},
}


def batches(size: int) -> list[Batch]:
    """One drawn batch for each number of rounds; the same ones in every process."""
    return list(
        InteractiveDataModule(
            train=[TrainingSource(Shapes(length=200, size=(480, 640), split="train"))],
            crop_size=CROP,
            batch_size=size,
            epoch_length=size * len(ROUNDS),
            targets=TargetSampling(min_object_area=100),
            num_workers=0,
            seed=0,
        ).train_dataloader()
    )


def click_lists(batch: Batch) -> Tensor:
    """Clicks in the released layout: (B, 48, 3) row, column, order; positive ones first, -1 where there is none."""
    lists = torch.full((len(batch), 2 * SLOTS, 3), -1.0)
    for row, clicks in zip(lists, batch.clicks.to_list(), strict=True):
        for label, start in ((1, 0), (0, SLOTS)):
            placed = [(y, x, 100) for y, x, kind in clicks if kind == label][:SLOTS]  # 100: given before any round
            row[start : start + len(placed)] = torch.tensor(placed, dtype=torch.float32).reshape(-1, 3)
    return lists


def finished(device: str) -> float:
    """Waits for the device; the most memory that it ever had to hold (GiB), 0 on a CPU."""
    if device == "cpu":
        return 0.0
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**30


def prepare_released(options: argparse.Namespace) -> Work:
    """A step of the released trainer's own `batch_forward`."""
    released.open_code(options.code)
    from isegm.engine import trainer as engine  # ty: ignore[unresolved-import]
    from isegm.engine.optimizer import get_optimizer  # ty: ignore[unresolved-import]
    from isegm.model.losses import (  # ty: ignore[unresolved-import]
        NormalizedFocalLossSigmoid,
        SigmoidBinaryCrossEntropyLoss,
    )
    from isegm.model.metrics import AdaptiveIoU  # ty: ignore[unresolved-import]

    network, _ = released.both(options.network, None, options.device)
    losses = released.Settings(instance_loss=NormalizedFocalLossSigmoid(alpha=0.5, gamma=2), instance_loss_weight=1.0)
    if options.network in released.HRNETS:
        losses |= {"instance_aux_loss": SigmoidBinaryCrossEntropyLoss(), "instance_aux_loss_weight": 0.4}
    trainer = engine.ISTrainer.__new__(engine.ISTrainer)  # its constructor wants datasets and folders
    trainer.cfg, trainer.loss_cfg = released.Settings(local_rank=0), losses
    trainer.net, trainer.device = network, torch.device(options.device)
    trainer.click_models, trainer.prev_mask_drop_prob, trainer.max_num_next_clicks = None, 0.0, max(ROUNDS)
    trainer.train_metrics = [AdaptiveIoU()]
    optimizer = get_optimizer(network, "adam", {"lr": 5e-5, "betas": (0.9, 0.999), "eps": 1e-8})
    prepared = [
        {"images": batch.image, "points": click_lists(batch), "instances": batch.target}
        for batch in batches(options.batch)
    ]

    def step(number: int) -> dict[str, float]:
        turn = number % len(ROUNDS)
        engine.random = SimpleNamespace(**vars(random) | {"randint": lambda least, most: ROUNDS[turn]})
        network.train()
        torch.manual_seed(number)
        loss = trainer.batch_forward(dict(prepared[turn]))[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "device": finished(options.device)}

    return step


def prepare_ours(
    options: argparse.Namespace, autocast: bool = False, network_options: dict[str, Any] | None = None
) -> Work:
    """A step of the method's own `training_step`, without Lightning's loop round it."""
    released.open_code(options.code)
    keep_freed_memory()  # as `clicklab fit` does
    method = released.method_of(options.network)
    kinds = vars(import_module(f"clicklab.methods.{method}.module")).values()
    module = next(kind for kind in kinds if getattr(kind, "method", None) == method)(
        variant=options.network, network_options=network_options
    )
    _, network = released.both(options.network, None, "cpu")
    module.network.load_state_dict(network.state_dict())
    module.to(options.device).train()
    user, turn, clicking = SimulatedUser(), 0, 0.0
    user.rounds = lambda least, most: ROUNDS[turn]
    respond = user.respond

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal clicking
        finished(options.device)
        began = time.perf_counter()
        answer = respond(*args, **kwargs)
        finished(options.device)
        clicking += time.perf_counter() - began
        return answer

    user.respond = timed
    module._trainer = SimpleNamespace(datamodule=SimpleNamespace(user=user))
    module.log = lambda *args, **kwargs: None
    optimizer = torch.optim.Adam(module.parameter_groups(), lr=5e-5)
    prepared = batches(options.batch)
    if options.device == "cuda":
        prepared = [batch.pin_memory() for batch in prepared]
    lowered: Callable[[], AbstractContextManager[Any]] = (
        (lambda: torch.autocast(options.device, dtype=torch.bfloat16)) if autocast else nullcontext
    )

    def step(number: int) -> dict[str, float]:
        nonlocal turn, clicking
        turn, clicking = number % len(ROUNDS), 0.0
        torch.manual_seed(number)
        batch = prepared[turn].to(options.device, non_blocking=True)
        with lowered():
            loss = module.training_step(batch, number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "device": finished(options.device), "clicking": clicking}

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="of each side, a multiple of 4")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before them")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), help="default: 32-true, with --gpu all")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/official_train_step.json"), metavar="FILE")
    options = released.parse(parser)
    ways = options.ways or (list(WAYS) if options.gpu else list(WAYS)[:1])
    sides = {"official": Side(prepare_released, options=options)}
    sides |= {way: Side(prepare_ours, options=options, **WAYS[way]) for way in ways}
    first = {name: side(0).answer["loss"] for name, side in sides.items()}  # before any weight has moved
    for number in range(options.warm_up):
        for side in sides.values():
            side(number)
    steps: dict[str, list[Any]] = {name: [] for name in sides}
    for number in range(options.steps):
        for name, side in sides.items():
            steps[name].append(side(number))
    total = {name: sum(step.seconds for step in done) for name, done in steps.items()}
    device = released.device_name(options.device)
    print(f"{options.network}, batch {options.batch}, crops of {CROP}, {device}")
    rows: dict[str, dict[str, Any]] = {}
    for name, done in steps.items():
        rows[name] = {
            "first loss": first[name],
            "seconds": [step.seconds for step in done],
            "samples per second": options.batch * options.steps / total[name],
            "ratio": total["official"] / total[name],
            "peak GiB of the process": done[-1].peak,
            "peak GiB of the device": done[-1].answer["device"],
        }
        if name != "official":
            rows[name]["share of clicks"] = mean(step.answer["clicking"] / step.seconds for step in done)
        row = rows[name]
        print(
            f"  {name:30}{row['samples per second']:8.2f} samples/s  {1000 * median(row['seconds']):8.1f} ms"
            f"  {row['ratio']:5.2f}x  process {row['peak GiB of the process']:.2f} GiB,"
            f" device {row['peak GiB of the device']:.2f} GiB  first loss {row['first loss']:.6f}"
            + (f"  clicks {row['share of clicks']:.1%}" if name != "official" else "")
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"network": options.network, "device": device, "batch": options.batch, "crop": CROP, "rows": rows}
    options.output.write_text(json.dumps(record, indent=1))
    for side in sides.values():
        side.close()


if __name__ == "__main__":
    sys.exit(run_script(main))
