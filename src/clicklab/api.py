"""`clicklab.evaluate`: any network on any datasets, by name and folder, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from clicklab.evaluation.play import evaluate_objects
from clicklab.evaluation.protocol import BATCH_SIZE, EvaluationProtocol
from clicklab.visualize.curves import save_curve
from data_modules.datasets import open_dataset
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
        options: fields of `clicklab.evaluation.protocol.EvaluationProtocol`, e.g. `max_clicks=20`.

    Raises:
        FileNotFoundError: a folder is missing; the message says where the set comes from.
        TypeError: no network, `data` is not a mapping, or there is no such option.
        ValueError: an unknown dataset name, an impossible option, no such device, an answer of another form or that is
            no number, or `output` holds results of other settings or of other data.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f'data is a {type(data).__name__}, expected names and folders, {{"GrabCut": "/data/GrabCut"}}')
    datasets = {
        name: EvaluationObjects(source if isinstance(source, SceneDataset) else open_dataset(name, source), limit=limit)
        for name, source in data.items()
    }
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
