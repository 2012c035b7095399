"""A W&B sweep file as a record: what is varied, how, and which command is run.

The file is W&B's own (program, method, metric, command, parameters). One block is ours: `evaluate`, options of
`clicklab evaluate` that are varied after the training of a trial, without training again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ARGS = "${args}"  # where W&B puts a trial's parameters
DATA = "data"  # in the block `evaluate`: what is measured on


@dataclass(frozen=True)
class Parameter:
    """What one parameter may be: one of some values, or a number between two.

    Attributes:
        values: the choices; empty for a range.
        low: least value of a range.
        high: largest value of a range.
        log: whether a range is searched on a logarithmic scale.
        whole: whether a range holds whole numbers only.
    """

    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Sweep:
    """One sweep file.

    Attributes:
        path: where it stands.
        method: grid, random or bayes.
        metric: name in the run's log, such as `val/NoC@90`.
        minimize: whether less is better.
        command: words of the command behind `clicklab`, with `${args}` in the place of the parameters.
        parameters: name -> what it may be.
        evaluate: option of `clicklab evaluate` -> values that are measured after the training.
        data: NAME=FOLDER for these measurements.
    """

    path: Path
    method: str
    metric: str
    minimize: bool
    command: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    evaluate: Mapping[str, tuple[Any, ...]]
    data: tuple[str, ...]

    def words(self, values: Mapping[str, Any], overlays: Sequence[str]) -> list[str]:
        """The command of one trial, overlays merged before the sweep's own last file."""
        given = [f"--{name}={_as_text(value)}" for name, value in values.items()]
        words: list[str] = []
        for word in self.command:
            words += given if word == ARGS else [word]
        last = max(place for place, word in enumerate(words) if word == "--config")
        extra = [part for overlay in overlays for part in ("--config", overlay)]
        return [*words[:last], *extra, *words[last:]]

    def evaluations(self) -> Iterator[dict[str, Any]]:
        """Every combination of the options that are varied without training again."""
        for combination in itertools.product(*self.evaluate.values()):
            yield dict(zip(self.evaluate, combination, strict=True))


def read_sweep(path: Path) -> Sweep:
    """Reads a sweep file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a sweep file; the message names the field.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name a sweep file, such as experiments/simpleclick/sweep.yaml")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        program, *command = entries["command"]
        if program != "clicklab" or ARGS not in command:
            raise ValueError(f"command must begin with clicklab and hold {ARGS}")
        if entries["method"] not in ("grid", "random", "bayes"):
            raise ValueError(f"method is {entries['method']!r}, expected grid, random or bayes")
        evaluate = dict(entries.get("evaluate") or {})
        data = tuple(os.path.expandvars(word) for word in evaluate.pop(DATA, ()))
        return Sweep(
            path=path,
            method=entries["method"],
            metric=entries["metric"]["name"],
            minimize=entries["metric"].get("goal", "minimize") == "minimize",
            command=tuple(command),
            parameters={name: _parameter(name, entry) for name, entry in entries["parameters"].items()},
            evaluate={name: tuple(entry["values"]) for name, entry in evaluate.items()},
            data=data,
        )
    except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(f"{path} is not a sweep file: {said}") from error


def for_wandb(path: Path, overlays: Sequence[str]) -> str:
    """The file as W&B takes it: without the block `evaluate`, with the overlays in its command."""
    sweep, entries = read_sweep(path), yaml.safe_load(path.read_text(encoding="utf-8"))
    entries.pop("evaluate", None)
    last = max(place for place, word in enumerate(sweep.command) if word == "--config")
    extra = [part for overlay in overlays for part in ("--config", overlay)]
    entries["command"] = ["clicklab", *sweep.command[:last], *extra, *sweep.command[last:]]
    return yaml.safe_dump(entries, sort_keys=False)


def _parameter(name: str, entry: Mapping[str, Any]) -> Parameter:
    if "values" in entry:
        return Parameter(values=tuple(entry["values"]))
    if "value" in entry:
        return Parameter(values=(entry["value"],))
    if "min" in entry and "max" in entry:
        low, high = entry["min"], entry["max"]
        whole = isinstance(low, int) and isinstance(high, int)
        return Parameter(low=low, high=high, log="log" in str(entry.get("distribution", "")), whole=whole)
    raise ValueError(f"parameter {name} has neither values nor min and max")


def _as_text(value: Any) -> str:
    """A value as Lightning's command reads it."""
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("\n...").strip()
