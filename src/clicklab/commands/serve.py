"""`clicklab serve`: a network behind the protocols of annotation tools."""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path


def add_serve(commands: argparse._SubParsersAction) -> None:
    """`serve CHECKPOINT`."""
    command = commands.add_parser(
        "serve",
        description="Answers the clicks of Label Studio (machine learning backend) and X-AnyLabeling (remote server). "
        "docs/adapters.md says how they, CVAT and napari are connected.",
    )
    command.add_argument("checkpoint", nargs="?", help="any that `evaluate` takes (default: clicklite)")
    command.add_argument("--host", metavar="ADDRESS", help="let others in, 0.0.0.0 for all; they need the token")
    command.add_argument("--port", type=int, default=8000, help="0: any free one (default %(default)s)")
    command.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    command.add_argument(
        "--label-studio",
        default=os.environ.get("LABEL_STUDIO_URL", ""),
        metavar="URL",
        help="where images lie (default: LABEL_STUDIO_URL, or what Label Studio says); its token is read from "
        "LABEL_STUDIO_API_KEY",
    )
    command.set_defaults(run=run_serve)


def run_serve(options: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    try:
        import uvicorn

        from clicklab.adapters.app import build_app
        from clicklab.annotate.serve import listen
    except ModuleNotFoundError as error:
        raise ValueError(f"the server needs {error.name}: pip install 'clicklab[annotate]'") from error
    from clicklab.adapters.dialogues import Dialogues
    from clicklab.commands.devices import find_device
    from clicklab.loading import load

    listening = listen(options.host or "127.0.0.1", options.port)
    try:
        network = load(options.checkpoint, find_device(options.device))
    except BaseException:
        listening.close()
        raise
    token = "" if options.host is None else os.environ.get("CLICKLAB_TOKEN") or secrets.token_urlsafe(24)
    name = Path(options.checkpoint).name if options.checkpoint else "clicklite"
    studio_token = os.environ.get("LABEL_STUDIO_API_KEY", "")
    app = build_app(Dialogues(network), name, token, options.label_studio, studio_token)
    address = f"http://{options.host or '127.0.0.1'}:{listening.getsockname()[1]}"
    print(f"{name} answers at {address} for Label Studio and X-AnyLabeling   (Ctrl-C ends)", flush=True)
    if token:
        print(f"token: {token}", flush=True)
    config = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listening])
    return 0
