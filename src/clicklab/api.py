"""`clicklab.evaluate`: any network on any datasets, by name and folder, in one call."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from clicklab.evaluation.play import evaluate_objects
from clicklab.evaluation.protocol import BATCH_SIZE, EvaluationProtocol
from clicklab.evaluation.robustness import Objects
from clicklab.visualize.curves import save_curve
from data_modules.datasets import open_dataset
from data_modules.recorded_dialogues import RecordedDialogues, read_dialogues
from data_modules.scenes import EvaluationObjects, SceneDataset


def evaluate(
    network: nn.Module,
    data: Mapping[str, str | Path | SceneDataset],
    *,
    output: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = BATCH_SIZE,
    device: str | None = None,
    progress: bool = False,
    compiled: bool = False,
    source: str | None = None,
    clicks: str | Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Plays the evaluation robot on every object and returns the record that `results.json` holds.

    Args:
        network: keeps the network contract; `forward(image, clicks, prev_mask) -> Prediction` is enough. One that
            answers several candidates says how many in its attribute `num_candidates`, to be measured with the oracle
            too.
        data: name of `data_modules.datasets.DATASETS` -> folder in the official layout, or an opened dataset.
        output: folder for `results.json`, table, CSV, curve, and the journal from which a broken run resumes.
        limit: only the first objects of each dataset.
        batch_size: how many objects are played in lockstep; it changes the speed, not the result.
        device: where the network runs and then stays, e.g. `cuda`; default: where it is.
        progress: show a progress bar.
        compiled: run a copy of the network with compiled parts (`clicklab.nn.compiled`), for long runs on a GPU.
        source: where the weights came from, for the record.
        clicks: a file of `clicklab annotate export --format clicks`: its dialogues are replayed in place of the
            simulated user's, each on the object that its final mask overlaps most.
        options: fields of `clicklab.evaluation.protocol.EvaluationProtocol`, e.g. `max_clicks=20`.

    Raises:
        FileNotFoundError: a folder or the file of clicks is missing; the message says where it comes from.
        TypeError: no network, `data` is not a mapping, or there is no such option.
        ValueError: an unknown dataset name, an impossible option, no such device, an answer of another form or that is
            no number, or `output` holds results of other settings or of other data.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f'data is a {type(data).__name__}, expected names and folders, {{"GrabCut": "/data/GrabCut"}}')
    opened = {
        name: source if isinstance(source, SceneDataset) else open_dataset(name, source)
        for name, source in data.items()
    }
    datasets: dict[str, Objects]
    if clicks is None:
        datasets = {name: EvaluationObjects(dataset, limit=limit) for name, dataset in opened.items()}
    else:
        datasets = recorded(opened, Path(clicks), limit, bool(options.get("initial_masks")))
        options["recorded_clicks"] = f"{Path(clicks).name}:{zlib.crc32(Path(clicks).read_bytes()):08x}"
    results = evaluate_objects(
        network,
        datasets,
        EvaluationProtocol.from_options(options),
        batch_size=batch_size,
        device=device,
        output=output,
        progress=progress,
        compiled=compiled,
        source=source,
    )
    if output is not None:
        save_curve(results, output)
    return results


def recorded(
    datasets: Mapping[str, SceneDataset], file: Path, limit: int | None, from_masks: bool
) -> dict[str, Objects]:
    """The recorded dialogues on the images of each dataset.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or a dataset without any of its images.
    """
    dialogues = read_dialogues(file)
    found: dict[str, Objects] = {}
    for name, dataset in datasets.items():
        found[name] = RecordedDialogues(dataset, dialogues, from_masks, limit)
        if not len(found[name]):
            raise ValueError(
                f"--clicks: none of the {len(dialogues)} dialogues of {file} is on an image of {name} (the first is on "
                f"{dialogues[0].image}); images are found by their names without suffix"
            )
    return found
