"""Prints every function of ours that one training batch, or one dialogue, passes through: file, line, name.

python benchmarks/walk.py train      # a photo and its mask in a folder -> the loss of SimpleClick
python benchmarks/walk.py session    # an image in memory -> the mask after two clicks
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
from PIL import Image

import clicklab
from clicklab.methods.simpleclick import SimpleClick
from data_modules import InteractiveDataModule
from data_modules.datasets import Folder
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = (f"{REPOSITORY / 'src'}/", f"{REPOSITORY / 'data_modules'}/")
SIDE = 32


@contextmanager
def watched(calls: list[str]) -> Iterator[None]:
    """Notes the first call of every function of ours; lambdas and comprehensions are left out."""

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(ROOMS) or code.co_name.startswith("<"):
            return
        name = f"{Path(code.co_filename).relative_to(REPOSITORY)}:{code.co_firstlineno} {code.co_qualname}"
        if name not in calls:
            calls.append(name)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def draw_folder(folder: Path) -> Path:
    """Four noisy photos with one rectangle each, as the dataset `Folder` reads them."""
    mask = np.zeros((80, 90), np.uint8)
    mask[20:60, 20:70] = 1
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    return folder


def train(module: SimpleClick, calls: list[str]) -> None:
    """A batch from its files to the loss."""
    with tempfile.TemporaryDirectory() as folder:
        data = InteractiveDataModule(
            train=[TrainingSource(Folder(draw_folder(Path(folder))))], crop_size=SIDE, batch_size=2, epoch_length=2,
            targets=TargetSampling(min_object_area=4), num_workers=0, seed=5,
        )  # fmt: skip
        data.setup("fit")
        module.user = data.user
        module.log = lambda *_, **__: None  # there is no trainer
        batches = iter(data.train_dataloader())
        with watched(calls):
            module.training_step(next(batches), 0)


def session(module: SimpleClick, calls: list[str]) -> None:
    """A dialogue of two clicks."""
    dialogue = clicklab.Session(module.network.eval())
    with watched(calls):
        dialogue.set_image(np.zeros((80, 90, 3), np.uint8))
        dialogue.add_click(40, 40)
        dialogue.add_click(10, 10, positive=False)


def main() -> None:
    walks: dict[str, Callable[[SimpleClick, list[str]], None]] = {"train": train, "session": session}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("walk", choices=walks)
    parser.add_argument("--output", type=Path, help="JSON file of what is printed")
    arguments = parser.parse_args()
    module = SimpleClick(variant="mini", network_options={"image_size": SIDE, "patch_size": 8})
    calls: list[str] = []
    walks[arguments.walk](module, calls)
    print("\n".join(calls))
    files = {call.partition(":")[0] for call in calls}
    print(f"{len(calls)} functions in {len(files)} files")
    if arguments.output:
        arguments.output.write_text(json.dumps({"calls": calls, "files": sorted(files)}, indent=1))


if __name__ == "__main__":
    main()
