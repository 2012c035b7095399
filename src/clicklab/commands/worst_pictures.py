"""`evaluate --pictures worst:20`: sheets of the objects that took the most clicks to IoU 0.90."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clicklab.nn.network import ClickNetwork

ROWS = 5  # objects on a sheet


def worst_count(text: str) -> int:
    """20 from `worst:20`. Raises ValueError for another word."""
    word, _, number = text.partition(":")
    if word != "worst" or not number.isdigit() or int(number) < 1:
        raise ValueError(f"--pictures is {text!r}; expected worst:N, for example worst:20")
    return int(number)


def save_worst(output: Path, count: int, network: ClickNetwork, data: Sequence[str], device: str) -> list[Path]:
    """Clicks the worst objects of an evaluation again and draws them.

    Args:
        output: folder of the evaluation; the sheets go into its subfolder `pictures`.
        count: how many objects.
        network: that was measured.
        data: `NAME=FOLDER` of its datasets.
        device: where the network answers.
    """
    from clicklab.commands.replays import Missing, Replays
    from clicklab.visualize.report_data import main_threshold, needed, worst_objects
    from clicklab.visualize.results_file import read_run
    from clicklab.visualize.sheets import Dialogue, dialogue_sheet

    run, missing = read_run(str(output)), Missing()
    replays = Replays(run, None, data, device, missing, network)
    threshold, limit = main_threshold(run), run.protocol["max_clicks"]
    dialogues = []
    for one in worst_objects(run, count):
        item = replays.item(one.dataset, one.row)
        if item is not None:
            clicks = needed(one.row, threshold, limit)
            reached = f"{threshold:.2f} at click {clicks}" if clicks <= limit else f"{threshold:.2f} never"
            name = f"{one.dataset} #{one.row['index']}, {reached}"
            dialogues.append(Dialogue(name, item, replays.steps(one.dataset, one.row, item)))
    folder = output / "pictures"
    folder.mkdir(exist_ok=True)
    paths = []
    for first in range(0, len(dialogues), ROWS):
        paths.append(folder / f"worst-{first // ROWS + 1:02d}.png")
        dialogue_sheet(dialogues[first : first + ROWS], paths[-1])
    for text in missing.said:
        print(f"note: {text}")
    return paths
