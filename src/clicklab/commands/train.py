"""`clicklab fit`, `validate`, `test`: Lightning's own command with an eye on overlays, run folders and missing data."""

from __future__ import annotations

import json
import os
import secrets
import signal
from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
import yaml
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import OmegaConf
from wandb.env import strtobool

from clicklab.callbacks.run_progress import without_unwanted_bar
from clicklab.callbacks.stop_at_step import StopAtStep
from clicklab.commands.configuration_errors import in_short
from clicklab.commands.quiet import quiet_libraries
from clicklab.commands.training_errors import first_cause, missing_data, other_network, while_restoring
from clicklab.external_checkpoint import check_whole
from clicklab.methods.base import ClickModule

TERMINATED = 143  # what a shell says of a command that SIGTERM ended
SETTINGS = "clicklab_settings"  # in a checkpoint: what a run must keep to, as JSON
WANDB = "wandb"  # in it: the id of the run there
PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step")
UNUSED = {"validate": ("train",), "test": ("train", "val")}  # data that who measures need not have
# Of no account once a run has begun: where its network came from, and what trades time for memory.
FREE = {"pretrained", "path", "checkpoint_blocks"}

# for environment variables: 1 is true as well, and an empty one counts as none
OmegaConf.register_resolver("yes_or_no", lambda word, empty=True: strtobool(word) if word else empty, replace=True)


class SaveSettings(SaveConfigCallback):
    """Lightning's config.yaml, and in every checkpoint what a run that goes on from it must keep to."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Adds the model, the seed and the W&B run."""
        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        checkpoint[SETTINGS] = json.dumps(_kept(settings) | {WANDB: _run_at_wandb(settings, trainer)})


def _run_at_wandb(settings: Mapping[str, Any], trainer: Any) -> dict[str, Any] | None:
    """The group of a run's parts, and the id of a part that can be gone on with: one that is online."""
    loggers = settings["trainer"]["logger"]
    loggers = [loggers] if isinstance(loggers, dict) else loggers if isinstance(loggers, list) else []  # or a yes or no
    given = [logger["init_args"] for logger in loggers if logger["class_path"].endswith(WandbLogger.__name__)]
    made = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    if not made:
        return None
    return {"group": given[0].get("group"), "id": None if given[0].get("offline") else made[0].version}


def train(arguments: list[str]) -> int:
    """Model and data by class_path, several --config merged from left to right.

    Returns:
        0, or 143 where SIGTERM ended the run (it is kept; of several processes one may fail while it ends).

    Raises:
        ValueError, FileNotFoundError: what really happened, in one line.
    """
    quiet_libraries()
    missing: list[str] = []
    stops: list[StopAtStep] = []  # the one of the run, once it has begun

    class Command(LightningCLI):
        """Lightning's command; it stops at the first missing dataset, and this one looks for the others."""

        def before_instantiate_classes(self) -> None:
            config = getattr(self.config, str(self.subcommand))
            data = config.data.init_args
            without_unwanted_bar(config.trainer)
            for part in UNUSED.get(str(self.subcommand), ()):
                if part in data:
                    data[part] = None
            settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.subcommand]
            earlier = check_run_folder(str(self.subcommand), settings)
            for logger in config.trainer.logger if isinstance(config.trainer.logger, list) else ():
                if logger.class_path.endswith(WandbLogger.__name__):
                    go_on_at_wandb(logger.init_args, earlier.get(WANDB))

        def instantiate_classes(self) -> None:
            try:
                super().instantiate_classes()
            except ValueError:
                missing.extend(missing_data(getattr(self.config, str(self.subcommand)).data))
                raise

        def before_fit(self) -> None:
            found: Any = self.trainer.callbacks  # ty: ignore[missing-attribute]
            stops.extend(callback for callback in found if isinstance(callback, StopAtStep))
            if self.trainer.is_global_zero and not self.trainer.fast_dev_run:  # ty: ignore[missing-attribute]
                self.lock = locked(Path(self.trainer.default_root_dir))

        def _parse_ckpt_path(self) -> None:
            """Nothing: the configuration says what the model is. Lightning would put the checkpoint's record over it,
            which is no configuration but what `clicklab.load` builds the network from."""

    try:
        Command(
            ClickModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SaveSettings,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_kwargs={"parser_mode": "omegaconf+", "prog": "clicklab", "exit_on_error": False},
            args=with_all_network_options(arguments),
        )
    except ArgumentError as error:
        raise ValueError(in_short(str(error), arguments[0])) from error
    except SIGTERMException:  # ends a process without an error
        return stopped(signal.SIGTERM)
    except SystemExit:  # Lightning's end on Ctrl-C, or the parser's
        if stops and stops[0].received is not None:
            return stopped(stops[0].received)
        raise
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        raise first_cause(error, missing) from error
    except RuntimeError as error:
        if stops and stops[0].received is not None:  # a worker got the signal, too
            return stopped(stops[0].received)
        if "loading state_dict" not in str(error):
            raise
        raise other_network(error) from error
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        if not while_restoring(error):
            raise
        raise ValueError(
            f"the checkpoint lacks parts of a training run ({type(error).__name__}: {str(error)[:40]}): put another in "
            "its place, or begin anew by --ckpt_path=null"
        ) from error
    return 0


def stopped(number: int) -> int:
    """How a run ends that a signal has ended: 143 for SIGTERM, KeyboardInterrupt for Ctrl-C.

    Of several processes the first one says so; the others end without an error, or the first would be killed for it.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        return 0
    if number == signal.SIGTERM:
        return TERMINATED
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning has switched it off
    raise KeyboardInterrupt


def go_on_at_wandb(logger: Any, earlier: Any) -> None:
    """Makes a new part of a run that goes on stand beside its earlier parts.

    Online, W&B goes on with the run of the same id. Offline it cannot: each part begins at history step 0, and of two
    parts with one id the one that is sent later takes the place of the other. There each part is a run of its own, and
    all are in one group.

    Args:
        logger: the `init_args` of the WandbLogger, changed in place.
        earlier: what the checkpoint that the run goes on from says of its run at W&B.
    """
    known = earlier if isinstance(earlier, dict) else {"group": earlier, "id": None}
    logger.group = logger.group or known.get("group") or os.environ.get("WANDB_RUN_GROUP")
    logger.group = logger.group or f"run-{secrets.token_hex(4)}"  # bare digits with an e among them would be a number
    if not logger.offline:
        logger.id = logger.id or known.get("id")


def with_all_network_options(arguments: list[str]) -> list[str]:
    """The command line with the network options of all its files: `VARIANT="nomca nofcg"` means both.

    To the parser `network_options` is one value, which a later file replaces. Here it is completed instead, unless the
    file names a variant of its own beside it: then its options are all there are, for they belong to that variant.
    """
    files = {n + 1: arguments[n + 1] for n, word in enumerate(arguments[:-1]) if word in ("--config", "-c")}
    files |= {n: word.partition("=")[2] for n, word in enumerate(arguments) if word.startswith("--config=")}
    options: dict[str, Any] = {}
    given = end = 0
    for place in sorted(files):
        model = _section(files[place], "model")
        values = model.get("init_args") or {}
        new = values.get("network_options") or {}
        if "network_options" in values and isinstance(new, dict):
            given, end = given + 1, place + 1
            options = new if not new or {"variant", "class_path"} & {*values, *model} else options | new
    if given < 2:
        return arguments
    return [*arguments[:end], f"--model.init_args.network_options={json.dumps(options)}", *arguments[end:]]


def _section(file: str, name: str) -> Mapping[str, Any]:
    """A part of a configuration file; empty where it has none, or is not readable: the parser then says so."""
    try:
        values = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    section = values.get(name) if isinstance(values, dict) else None
    return section if isinstance(section, dict) else {"class_path": section} if section else {}


def check_run_folder(subcommand: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuses what going on from a checkpoint would silently do otherwise.

    Args:
        subcommand: fit, validate or test.
        settings: the whole configuration of it.

    Returns:
        What the checkpoint says of the run that goes on; nothing where none does.

    Raises:
        ValueError: the checkpoint is damaged, or of no training run; or `last`, and missing where something is to be
            measured, or of a run with another model or seed.
    """
    asked = settings["ckpt_path"]
    folder = Path(settings["trainer"]["default_root_dir"] or ".")
    file = folder / "checkpoints" / "last.ckpt" if asked == "last" else Path(asked or "")
    if not file.is_file():
        # a network that came from a checkpoint of its own (CFR-ICL) may be measured as it is
        if asked == "last" and subcommand != "fit" and "network" not in settings["model"]["init_args"]:
            raise ValueError(f"there is no {file}: name the run by --trainer.default_root_dir or a file by --ckpt_path")
        return {}
    try:
        check_whole(file)
        checkpoint = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(
            f"{file} is damaged, or of no training run ({type(error).__name__}): put another checkpoint in its place, "
            "or remove it"
        ) from error
    if not isinstance(checkpoint, dict) or "pytorch-lightning_version" not in checkpoint:
        raise ValueError(f"{file} is not the checkpoint of a training run: `clicklab evaluate` measures others as well")
    if lacking := [part for part in (PARTS if subcommand == "fit" else PARTS[:1]) if part not in checkpoint]:
        raise ValueError(
            f"{file} lacks {', '.join(lacking)}: put a whole checkpoint in its place, or begin anew by --ckpt_path=null"
        )
    if subcommand != "fit" or asked != "last" or SETTINGS not in checkpoint:
        return {}
    kept = json.loads(checkpoint[SETTINGS])
    if changes := list(_changes(kept, settings)):
        raise ValueError(
            f"{folder} holds a run with other settings ({'; '.join(changes)}). Go on with the same ones, or begin "
            "another run: elsewhere (--trainer.default_root_dir), or here from the start (--ckpt_path=null)"
        )
    return kept


def locked(folder: Path) -> IO[str] | None:
    """Keeps other processes from training into a folder as long as the file that it returns is open.

    The system opens the lock when the process ends, however that happens; where there are no locks, none is taken.

    Raises:
        ValueError: another process trains there.
    """
    try:
        import fcntl  # Windows has none

        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, which workers would inherit and outlive the run
    except BlockingIOError as error:
        raise ValueError(
            f"another process is training into {folder}: wait for its end, or name another folder by "
            "--trainer.default_root_dir"
        ) from error
    except (ImportError, OSError):
        return None
    return file


def _kept(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: settings.get(key) for key in ("model", "seed_everything")}


def _changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Settings of the model and the seed that differ. Data and trainer may change: more epochs, other devices."""
    before, after = (dict(_flat(_kept(values))) for values in (earlier, now))
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key) and key.rpartition(".")[2] not in FREE:
            yield f"{key} was {before.get(key)}, now {after.get(key)}"


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dictionaries as dotted names and values."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else key)
    else:
        yield name, values
