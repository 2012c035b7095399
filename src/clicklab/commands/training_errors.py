"""What goes wrong in training, said in one line: the cause below what parser and trainer wrap around it."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Any


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
    if "more than 1 value per channel" in str(cause):
        return ValueError(
            "BatchNorm wants two images or more on each device: data.init_args.batch_size, which is of all devices "
            "together, has to be at least twice --trainer.devices"
        )
    if "interpolation" in str(cause).lower():
        first = str(cause).splitlines()[0][:110]
        return ValueError(
            f"{first}: a ${{...}} of the --config files has no value; set the variable or the key it names"
        )
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


def while_restoring(error: BaseException) -> bool:
    """Whether Lightning was putting the parts of a checkpoint back in their places."""
    frames = traceback.walk_tb(error.__traceback__)
    return any("checkpoint_connector" in frame.f_code.co_filename for frame, _ in frames)
