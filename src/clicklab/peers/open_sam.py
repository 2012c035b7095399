"""Opening models of the SAM family: a folder or a name on the Hugging Face Hub, or an official `.pth` of SAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clicklab.external_checkpoint import find_weights, read_foreign
from clicklab.peers.sam import SamNetwork
from clicklab.peers.sam_official import sam_from_official

# `model_type` of a config -> classes of the library: model, processor. Repositories of the video models hold the image
# model's weights, which the image classes take out of them.
KINDS: dict[str, tuple[str, str]] = {
    "sam": ("SamModel", "SamProcessor"),
    "sam_hq": ("SamHQModel", "SamHQProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    "sam2_video": ("Sam2Model", "Sam2Processor"),
    "edgetam": ("EdgeTamModel", "Sam2Processor"),
    "edgetam_video": ("EdgeTamModel", "Sam2Processor"),
    "sam3_tracker": ("Sam3TrackerModel", "Sam3TrackerProcessor"),
    "sam3_video": ("Sam3TrackerModel", "Sam3TrackerProcessor"),
}
FILES = "config.json, preprocessor_config.json and model.safetensors"


def open_sam(name: str, **options: Any) -> SamNetwork:
    """A model of the SAM family.

    Args:
        name: a folder with the files of a repository, an official `.pth` of SAM, or a repository on the Hub, e.g.
            `facebook/sam2.1-hiera-tiny`.
        options: further arguments of `SamNetwork`.

    Raises:
        FileNotFoundError: a file or folder that is not there.
        ValueError: the library is missing or does not have this model, the weights cannot be had, or an unknown option.
    """
    if unknown := options.keys() - {"given"}:
        raise ValueError(f"sam:{name} has no option {', '.join(sorted(unknown))}; it has: given (mask or box)")
    transformers = _library(name)
    path = Path(name)
    if path.suffix in (".pth", ".pt"):
        model, processor = sam_from_official(find_weights(read_foreign(path)), transformers)
    elif path.is_dir() or not path.is_absolute():
        model, processor = _from_repository(name, transformers)
    else:
        raise FileNotFoundError(f"sam:{name}: there is no such folder; it should hold {FILES}")
    return SamNetwork(model.eval(), processor, source=name, **options)


def _library(name: str) -> Any:
    try:
        import transformers
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise ValueError(
            f"sam:{name} needs the library transformers, which is not installed: pip install 'clicklab[sam]'"
        ) from error
    disable_progress_bar()
    return transformers


def _from_repository(name: str, transformers: Any) -> tuple[Any, Any]:
    """Model and processor of a folder or a repository; no code of theirs is run, and no pickle read."""
    try:
        kind = transformers.AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(_not_found(name, error)) from error
    if kind not in KINDS:
        raise ValueError(f"sam:{name} holds a model of kind {kind}, none of the SAM family ({', '.join(KINDS)})")
    if not all(hasattr(transformers, one) for one in KINDS[kind]):
        raise ValueError(
            f"sam:{name} wants {KINDS[kind][0]}, which transformers {transformers.__version__} does not have yet: "
            "pip install --upgrade transformers"
        )
    model, processor = (getattr(transformers, one) for one in KINDS[kind])
    try:
        return model.from_pretrained(name, use_safetensors=True), processor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(_not_found(name, error)) from error


def _not_found(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 160 else f"{reason[:157]}..."
    if Path(name).is_dir():
        return f"sam:{name}: the folder should hold {FILES} as downloaded from the Hub ({reason})"
    return (
        f"sam:{name} cannot be fetched from the Hugging Face Hub ({reason}); download its {FILES} elsewhere and give "
        "their folder: sam:/folder"
    )
