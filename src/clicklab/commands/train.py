"""`clicklab fit`, `validate`, `test`: Lightning's own command with an eye on overlays, run folders and missing data."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import IO, Any

import torch
import yaml
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from omegaconf import OmegaConf
from wandb.env import strtobool

from clicklab.methods.base import ClickModule

TERMINATED = 143  # what a shell says of a command that SIGTERM ended
SETTINGS = "clicklab_settings"  # in a checkpoint: what a run must keep to, as JSON
WANDB = "wandb"  # in it: the id of the run there
UNUSED = {"validate": ("train",), "test": ("train", "val")}  # data that who measures need not have
# Of no account once a run has begun: where its network came from, and what trades time for memory.
FREE = {"pretrained", "path", "checkpoint_blocks"}

OmegaConf.register_resolver("yes_or_no", strtobool, replace=True)  # for environment variables: 1 is true as well


class SaveSettings(SaveConfigCallback):
    """Lightning's config.yaml, and in every checkpoint what a run that goes on from it must keep to."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Adds the model, the seed and the W&B run."""
        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        logged = [logger.version for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        checkpoint[SETTINGS] = json.dumps(_kept(settings) | {WANDB: logged[0] if logged else None})


def train(arguments: list[str]) -> int:
    """Model and data by class_path, several --config merged from left to right.

    Returns:
        0, or 143 where SIGTERM ended the run (it is kept; of several processes one may fail while it ends).

    Raises:
        ValueError, FileNotFoundError: what really happened, in one line.
    """
    # it is meant for callers that give both a command line and args; here they are the same
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    missing: list[str] = []

    class Command(LightningCLI):
        """Lightning's command; it stops at the first missing dataset, and this one looks for the others."""

        def before_instantiate_classes(self) -> None:
            config = getattr(self.config, str(self.subcommand))
            data = config.data.init_args
            for part in UNUSED.get(str(self.subcommand), ()):
                if part in data:
                    data[part] = None
            settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.subcommand]
            earlier = check_run_folder(str(self.subcommand), settings)
            for logger in config.trainer.logger if isinstance(config.trainer.logger, list) else ():
                if logger.class_path.endswith(WandbLogger.__name__):
                    logger.init_args.id = logger.init_args.id or earlier.get(WANDB)

        def instantiate_classes(self) -> None:
            try:
                super().instantiate_classes()
            except ValueError:
                missing.extend(missing_data(getattr(self.config, str(self.subcommand)).data))
                raise

        def before_fit(self) -> None:
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
            parser_kwargs={"parser_mode": "omegaconf+", "prog": "clicklab"},
            args=with_all_network_options(arguments),
        )
    except SIGTERMException:  # ends a process without an error
        return TERMINATED
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        raise first_cause(error, missing) from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise other_network(error) from error
    return 0


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
        checkpoint = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(
            f"{file} is damaged, or of no training run ({type(error).__name__}): put another checkpoint in its place, "
            "or remove it"
        ) from error
    if not isinstance(checkpoint, dict) or "pytorch-lightning_version" not in checkpoint:
        raise ValueError(f"{file} is not the checkpoint of a training run: `clicklab evaluate` measures others as well")
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


def other_network(error: RuntimeError) -> ValueError:
    """What PyTorch says of weights that do not fit, short and with a way out."""
    differs = " ".join(str(error).split()[:40])
    return ValueError(
        f"the checkpoint holds another network than these settings ({differs} ...): give the --config files of its "
        "run, or measure it by `clicklab evaluate`, which needs none"
    )


def first_cause(error: BaseException, missing: Sequence[str] = ()) -> BaseException:
    """What really happened: the parser wraps an error of a dataset's constructor in pages about the types it tried.

    Args:
        error: what the parser raised.
        missing: what each dataset says that is not there.
    """
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    if isinstance(cause, FileNotFoundError) and str(cause).startswith("no checkpoint"):  # a network to start from
        hint = "Released files are listed in checkpoints/catalog.yaml; CHECKPOINTS is the folder that holds yours"
        hint = "It is of another run, which comes first" if "last.ckpt" in str(cause) else hint
        return FileNotFoundError(f"{cause}. {hint}")
    if isinstance(cause, FileNotFoundError):
        said = "; also: ".join(missing or [str(cause)])
        hint = "Set DATA_ROOT to the folder of your datasets; VARIANT=tiny trains on generated shapes and needs none"
        own_photos = len(missing) < 2 and "your own images" in said  # a mixture has several folders below DATA_ROOT
        hint = "Set PHOTOS to the folder that holds images/ and masks/" if own_photos else hint
        return FileNotFoundError(f"{said}. {hint}")
    return cause if isinstance(cause, ValueError) else error


def missing_data(config: Any) -> list[str]:
    """What each dataset of a parsed configuration says whose files are missing, in the order of the configuration."""
    if isinstance(config, list):
        return list(dict.fromkeys(text for entry in config for text in missing_data(entry)))
    entries = config if isinstance(config, dict) else getattr(config, "__dict__", {})
    if "class_path" not in entries:
        return missing_data(list(entries.values()))
    kind, arguments = resolve_name(entries["class_path"]), entries.get("init_args") or {}
    if not hasattr(kind, "scene_name"):  # no dataset, but it may hold some
        return missing_data(arguments)
    try:
        kind(**dict(vars(arguments)))
    except FileNotFoundError as error:
        return [str(error)]
    return []
