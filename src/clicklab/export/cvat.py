"""`clicklab export --cvat`: an exported folder that is also a serverless function (nuclio) for CVAT's interactors."""

from __future__ import annotations

import shutil
from pathlib import Path

from clicklab.export.folder import RUNTIME
from clicklab.whole_file import written_whole

MAIN = "main.py"
NO_FUNCTION = (
    "--cvat: this network has two stages or chooses among masks, which the runtime without torch cannot play; "
    "CVAT reaches it through an agent (docs/adapters.md)"
)


def make_function(folder: Path, name: str) -> Path:
    """Writes `function.yaml` and `main.py` beside the graphs of an exported folder.

    Args:
        folder: made by `export_folder`.
        name: of the network, shown in CVAT.

    Returns:
        The folder.

    Raises:
        ValueError: the network's dialogues need more than the small runtime can do.
    """
    if not (folder / RUNTIME).is_file():
        raise ValueError(NO_FUNCTION)
    with written_whole(folder / MAIN) as part:
        shutil.copyfile(Path(__file__).parent / "nuclio" / MAIN, part)
    with written_whole(folder / "function.yaml") as part:
        part.write_text(FUNCTION.format(name=name, identifier=identifier(name)), encoding="utf-8")
    return folder


def identifier(name: str) -> str:
    """A name that nuclio takes: small letters, digits and dashes."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return "onnx-clicklab-" + "-".join(part for part in kept.split("-") if part)[:40]


# No startswith_box: CVAT reads any text there, "false" too, as yes.
FUNCTION = """# nuctl deploy --project-name cvat --path . --platform local
metadata:
  name: {identifier}
  namespace: cvat
  annotations:
    name: ClickLab {name}
    version: 2
    type: interactor
    spec:
    framework: onnx
    min_pos_points: 1
    min_neg_points: 0
    animated_gif: ""
    help_message: Click on an object; right clicks take away what does not belong to it

spec:
  description: Masks by clicks, {name}
  runtime: "python:3.11"
  handler: main:handler
  eventTimeout: 30s

  build:
    image: cvat.{identifier}
    baseImage: python:3.11-slim
    directives:
      preCopy:
        - kind: WORKDIR
          value: /opt/nuclio
        - kind: RUN
          value: pip install --no-cache-dir numpy onnxruntime pillow

  triggers:
    myHttpTrigger:
      maxWorkers: 1
      kind: http
      workerAvailabilityTimeoutMilliseconds: 10000
      attributes:
        maxRequestBodySize: 33554432

  platform:
    attributes:
      restartPolicy:
        name: always
        maximumRetryCount: 3
      mountMode: volume
"""
