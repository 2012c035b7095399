"""Finds the network and the images of a results record again, and clicks its dialogues once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from clicklab.commands.network_options import network_options
from clicklab.evaluation.journal import fingerprint
from clicklab.evaluation.protocol import ORACLE
from clicklab.loading import load
from clicklab.records import SkippedObject
from clicklab.visualize.comparison import plain_name
from clicklab.visualize.replay import object_of_row, predictor_of_record, replay, unlike
from clicklab.visualize.report_data import Chosen, key_of, picture_data, rows_by_object
from data_modules.datasets import open_dataset
from data_modules.scenes import EvaluationObjects
from data_modules.tools.dataset_spec import dataset_spec

if TYPE_CHECKING:
    from clicklab.inference.predictor import Predictor
    from clicklab.nn.network import ClickNetwork
    from clicklab.records import EvaluationObject
    from clicklab.visualize.replay import Step
    from clicklab.visualize.results_file import Run


def loaded(source: str, device: str) -> ClickNetwork:
    """The network of a file; as `evaluate` writes it down, words with an equals sign behind it are its options."""
    words = source.split(" ")
    options: list[str] = []
    while len(words) > 1 and "=" in words[-1] and not Path(" ".join(words)).exists():
        options.insert(0, words.pop())
    return load(" ".join(words), device, None, network_options(options))


@dataclass
class Missing:
    """What could not be shown, each reason said once."""

    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Notes a reason."""
        if text not in self.said:
            self.said.append(text)


class Replays:
    """The dialogues of one run.

    Args:
        run: with its results.
        checkpoint: where its weights lie; default: where the run read them.
        data: `NAME=FOLDER` of datasets that lie elsewhere now.
        device: where the network answers.
        missing: notes what is not there any more.
        network: that was measured, where it is at hand.
    """

    def __init__(
        self,
        run: Run,
        checkpoint: Path | None,
        data: Sequence[str],
        device: str,
        missing: Missing,
        network: ClickNetwork | None = None,
    ) -> None:
        self.run, self.device, self.missing = run, device, missing
        self.elsewhere = {name: (folder, options) for name, folder, options in map(dataset_spec, data)}
        self.network = self._load(checkpoint) if network is None else network
        self._objects: dict[str, EvaluationObjects | None] = {}
        self._predictors: dict[str, Predictor] = {}

    def _load(self, checkpoint: Path | None) -> ClickNetwork | None:
        source = checkpoint or self.run.run.get("source")
        if source is None:
            self.missing.say(f"{self.run.label} does not say where its weights are; --checkpoint FILE shows its masks")
            return None
        try:
            network = loaded(str(source), self.device)
        except (FileNotFoundError, ValueError) as error:
            if checkpoint is not None:
                raise
            self.missing.say(
                f"the masks of {self.run.label} cannot be shown ({error}); --checkpoint FILE names another file"
            )
            return None
        wanted = self.run.run.get("weights")
        if wanted and fingerprint(network) != wanted:
            text = f"{source} holds other weights than {self.run.label} was measured with"
            if checkpoint is not None:
                raise ValueError(f"{text}: name the file of that run")
            self.missing.say(f"{text}: its masks are not shown")
            return None
        return network

    def item(self, dataset: str, row: Mapping[str, Any]) -> EvaluationObject | None:
        """The object of a row; None, noted, where its image is not there any more."""
        objects = self._open(plain_name(dataset))
        if objects is None:
            return None
        if self.run.protocol.get("recorded_clicks"):
            return self._recorded(objects, row)
        try:
            return object_of_row(objects, row, self.run.protocol)
        except ValueError as error:
            self.missing.say(f"{plain_name(dataset)}: {error}; --data {plain_name(dataset)}=FOLDER names the folder")
            return None

    def _recorded(self, objects: EvaluationObjects, row: Mapping[str, Any]) -> EvaluationObject | None:
        """The object that a recorded dialogue was on: its index counts dialogues, not objects."""
        if self.run.protocol.get("initial_masks"):
            self.missing.say(f"the masks that the dialogues of {self.run.label} began from are not in its results")
            return None
        names = [(objects.dataset.scene_name(scene), number) for scene, number in objects.items]
        wanted = (row["name"], row["object"])
        found = objects[names.index(wanted)] if wanted in names else None
        if isinstance(found, SkippedObject) or found is None:
            self.missing.say(f"{row['name']}, object {row['object']}, is not in the data any more")
            return None
        return found

    def _open(self, name: str) -> EvaluationObjects | None:
        if name not in self._objects:
            self._objects[name] = self._opened(name)
        return self._objects[name]

    def _opened(self, name: str) -> EvaluationObjects | None:
        told = dict(self.run.data.get(name) or {})
        given = {key: value for key, value in told.items() if key not in ("objects", "reader", "root")}
        root = told.get("root")
        if name in self.elsewhere:
            root, options = self.elsewhere[name]
            given |= options
        elif not told:
            self.missing.say(f"the results do not say where {name} lies; --data {name}=FOLDER shows its images")
            return None
        try:
            return EvaluationObjects(open_dataset(name, root, **given))
        except (FileNotFoundError, ValueError, TypeError) as error:
            if name in self.elsewhere:
                raise
            self.missing.say(f"{name} cannot be read ({error}); --data {name}=FOLDER names its folder")
            return None

    def steps(self, dataset: str, row: Mapping[str, Any], item: EvaluationObject) -> list[Step]:
        """The clicks of a row answered again; nothing without the network."""
        if self.network is None:
            return []
        if dataset not in self._predictors:
            record = self.run.datasets[dataset]
            self._predictors[dataset] = predictor_of_record(self.network, self.run.protocol, record, self.device)
        clicks = [(int(y), int(x), int(label)) for y, x, label in row["clicks"]]
        steps = replay(self._predictors[dataset], item, clicks, oracle=dataset.endswith(ORACLE))
        if other := list(unlike(steps, row["ious"])):
            self.missing.say(
                f"{self.run.label}: masks shown are not quite those measured (first {row['name']}, click {other[0]}); "
                "another device or version answers a little otherwise"
            )
        return steps


def pictures_of(chosen: Sequence[Chosen], replays: Sequence[Replays], missing: Missing) -> list[dict[str, Any]]:
    """The objects for the page: those of the first run, with the same object's dialogue in the other one beside it."""
    first, *others = replays
    pictures = []
    for one in tqdm(chosen, "clicking again", unit="object", disable=not chosen):
        item = first.item(one.dataset, one.row)
        if item is None:
            continue
        played = {first.run.label: (first.steps(one.dataset, one.row, item), one.row)}
        for other in others:
            row = rows_by_object(other.run, one.dataset).get(key_of(one.row))
            if row is not None:
                played[other.run.label] = (other.steps(one.dataset, row, item), row)
        pictures.append(picture_data(one, item, played))
    return pictures
