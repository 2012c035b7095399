"""A file of weights for `evaluate.py --weights` where no released file is at hand: a short training on GrabCut itself.

    python benchmarks/against_official/brief_training.py CODE base --grabcut FOLDER [--seconds 30] [--gpu]

Drawn weights give masks that no click brings near their target. A network that has seen these very images for a while
answers with masks that clicks do correct, so that dialogues end where they would: good for comparing codes, not for a
NoC of any other meaning. What learns is the released network, with our batches, clicks and loss and without rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import released
import torch
from train_step import CROP, click_lists

from clicklab.commands.errors import run_script
from clicklab.losses.nfl import normalized_focal_loss
from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets import open_dataset
from data_modules.process_memory import keep_freed_memory
from data_modules.training.sources import TrainingSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grabcut", required=True, metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=120.0, help="of training (default %(default)g)")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/brief.pth"), metavar="FILE")
    options = released.parse(parser)
    datamodule = InteractiveDataModule(
        train=[TrainingSource(open_dataset("GrabCut", options.grabcut))],
        crop_size=CROP,
        batch_size=options.batch,
        epoch_length=options.batch * 100_000,  # time ends it
        num_workers=1,
        seed=0,
    )
    released.open_code(options.code)
    keep_freed_memory()
    torch.manual_seed(0)
    network = released.released_network(options.network).to(options.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    losses: list[float] = []
    began = time.perf_counter()
    for batch in datamodule.train_dataloader():
        seen = torch.cat([batch.image, torch.zeros_like(batch.image[:, :1])], dim=1)  # no previous mask
        answer = network(seen.to(options.device), click_lists(batch).to(options.device))
        loss = normalized_focal_loss(answer["instances"], batch.target.to(options.device)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if time.perf_counter() - began > options.seconds:
            break
    options.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": network.cpu().state_dict(), "config": network._config}, options.output)
    print(
        f"{len(losses)} steps of {options.batch}, loss {losses[0]:.3f} to {losses[-1]:.3f}, written to {options.output}"
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
