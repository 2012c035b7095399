"""A sweep as an Optuna study: grid, random or Bayesian, in a file that several processes and machines share."""

from __future__ import annotations

import json
import math
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from clicklab.sweeps.spec import Parameter, Sweep
from clicklab.sweeps.trial import TrialFailed

CHOOSING = threading.Lock()
OWNER = "owner"  # user attribute of a trial: the machine and the process that run it
REASON = "reason"  # user attribute of a failed trial
EVALUATIONS = "evaluations"  # user attribute: rows that were measured after the training


def open_study(sweep: Sweep, name: str, storage: Path) -> optuna.Study:
    """The study of a sweep, made or gone on with; trials that a dead process of this machine left are run again.

    Args:
        sweep: the file.
        name: of the study; a sweep over another variant is another one.
        storage: a file, shared by all processes and machines that work on the sweep.

    Raises:
        ValueError: the storage holds a study of other parameters under this name.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(storage))),
        sampler=_sampler(sweep),
        direction="minimize" if sweep.minimize else "maximize",
        load_if_exists=True,
    )
    asked = json.loads(json.dumps({name: vars(parameter) for name, parameter in sweep.parameters.items()}))
    known = study.user_attrs.get("parameters", asked)
    if known != asked:
        raise ValueError(f"{storage} holds a sweep over other parameters; give another --storage, or remove it")
    study.set_user_attr("parameters", asked)
    _requeue_abandoned(study)
    return study


def run_study(
    study: optuna.Study,
    sweep: Sweep,
    objective: Callable[[Mapping[str, Any]], tuple[float, list[dict[str, Any]]]],
    trials: int | None,
    jobs: int,
    say: Callable[[str], None] = print,
) -> None:
    """Runs trials until the grid is through or `trials` were finished by all workers together.

    Args:
        study: from `open_study`.
        sweep: the file.
        objective: parameters -> metric and the rows measured after the training; raises TrialFailed.
        trials: how many in all; None: the whole grid.
        jobs: trials at a time in this process.
        say: is told what goes on.
    """

    def one(trial: Trial) -> float:
        trial.set_user_attr(OWNER, [socket.gethostname(), os.getpid()])
        values = {name: _suggested(trial, name, parameter) for name, parameter in sweep.parameters.items()}
        say(f"trial {trial.number}: {', '.join(f'{name}={value}' for name, value in values.items())}")
        try:
            found, rows = objective(values)
        except TrialFailed as error:
            trial.set_user_attr(REASON, str(error))
            say(f"trial {trial.number} failed: {error}")
            raise
        trial.set_user_attr(EVALUATIONS, rows)
        say(f"trial {trial.number}: {sweep.metric} = {found:.4g}")
        return found

    def enough(study: optuna.Study, trial: FrozenTrial) -> None:
        if trials is not None and len(finished(study)) >= trials:
            study.stop()

    wanted = None if trials is None else max(0, trials - len(finished(study)))
    if wanted is None and sweep.method == "grid":  # no more than there are cells: a last one is not run twice
        wanted = _cells(sweep) - len(finished(study))
    if wanted == 0 or (sweep.method == "grid" and _grid_is_through(study, sweep)):
        return
    study.optimize(one, n_trials=wanted, n_jobs=jobs, catch=(TrialFailed,), callbacks=[enough])


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that ended, well or not; those that a dead process left are not among them."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state == TrialState.COMPLETE or (trial.state == TrialState.FAIL and REASON in trial.user_attrs)
    ]


def values_of(trial: FrozenTrial, sweep: Sweep) -> dict[str, Any]:
    """Parameter -> value of a trial."""
    return {
        name: parameter.values[trial.params[name]] if parameter.values else trial.params[name]
        for name, parameter in sweep.parameters.items()
        if name in trial.params
    }


def _sampler(sweep: Sweep) -> optuna.samplers.BaseSampler:
    """Seeded, so that a sweep by one worker repeats."""
    if sweep.method == "bayes":
        return optuna.samplers.TPESampler(seed=0)
    if sweep.method == "random":
        return optuna.samplers.RandomSampler(seed=0)
    ranges = [name for name, parameter in sweep.parameters.items() if not parameter.values]
    if ranges:
        raise ValueError(f"{sweep.path}: a grid wants values, but {ranges[0]} is a range: method random or bayes")
    return _SerialGridSampler(_grid(sweep), seed=0)


class _SerialGridSampler(optuna.samplers.GridSampler):
    """Chooses cells one after the other, so that two threads do not take the same one."""

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the base class, by one thread at a time."""
        with CHOOSING:
            super().before_trial(study, trial)


def _grid(sweep: Sweep) -> dict[str, list[int]]:
    """Choices by their place, because Optuna keeps plain values only and ours may be lists."""
    return {name: list(range(len(parameter.values))) for name, parameter in sweep.parameters.items()}


def _grid_is_through(study: optuna.Study, sweep: Sweep) -> bool:
    tried = {tuple(trial.params.get(name) for name in sweep.parameters) for trial in finished(study)}
    return len(tried) >= _cells(sweep)


def _cells(sweep: Sweep) -> int:
    return math.prod(len(parameter.values) for parameter in sweep.parameters.values())


def _suggested(trial: Trial, name: str, parameter: Parameter) -> Any:
    if parameter.values:
        return parameter.values[trial.suggest_int(name, 0, len(parameter.values) - 1)]
    if parameter.whole:
        return trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)


def _requeue_abandoned(study: optuna.Study) -> None:
    """Trials that say they run, but whose process on this machine is gone, are asked for again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        machine, process = trial.user_attrs.get(OWNER, (None, None))
        if machine == socket.gethostname() and not _is_alive(process):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def rows_of(study: optuna.Study, sweep: Sweep) -> list[dict[str, Any]]:
    """One row per finished trial: number, parameters, metric (None where it failed) and the reason of a failure."""
    return [
        {"trial": trial.number}
        | values_of(trial, sweep)
        | {sweep.metric: trial.value, "failed": trial.user_attrs.get(REASON, "")}
        for trial in finished(study)
    ]


def evaluation_rows(study: optuna.Study, sweep: Sweep) -> Sequence[dict[str, Any]]:
    """One row per trial and combination of evaluation options."""
    return [
        {"trial": trial.number} | values_of(trial, sweep) | row
        for trial in finished(study)
        for row in trial.user_attrs.get(EVALUATIONS, [])
    ]
