"""What a training run says at its start and at its end, and the metrics of all its parts in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from clicklab.callbacks.run_progress import batches_of_run
from clicklab.visualize.training_curves import CURVES, METRICS, Row, merged_metrics, parts_of, save_metrics

RESULTS = "results"
SHOWN = 12  # validations in the table: the first one and the last ones


class ClosingTable(pl.Callback):
    """One line before a run, a table of its validations behind it, and `results/` brought up to date meanwhile.

    Writes `<default_root_dir>/results/metrics.csv` and training.png after every validation and at the end, also of a
    run that was stopped.
    """

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says what will run."""
        print(first_line(trainer, pl_module), flush=True)

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Brings the files up to date."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            write_metrics(trainer)

    @rank_zero_only
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Keeps the metrics of what was reached."""
        write_metrics(trainer)

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says what came out and what to do next."""
        rows = write_metrics(trainer)
        if rows:
            print("\n" + closing_lines(trainer, rows), flush=True)


def first_line(trainer: pl.Trainer, module: pl.LightningModule) -> str:
    """Method, variant, data, length and folder of a run."""
    given: Mapping[str, Any] = getattr(module, "hparams", {})
    variant = given.get("variant")
    parameters = sum(parameter.numel() for parameter in module.parameters())
    data: Any = getattr(trainer, "datamodule", None)
    sources = [type(source.dataset).__name__ for source in getattr(data, "sources", None) or []]
    whole = batches_of_run(trainer) if trainer.num_training_batches != float("inf") else None
    parts = [
        f"{type(module).__name__}{f' {variant}' if variant else ''} ({_count(parameters)} parameters)",
        f"learns from {' + '.join(dict.fromkeys(sources)) or type(data).__name__}",
        f"{trainer.max_epochs} epochs" + (f", {whole} steps" if whole else ""),
        f"batch {data.batch_size}" if hasattr(data, "batch_size") else "",
        f"on {trainer.strategy.root_device}{f' x {trainer.world_size}' if trainer.world_size > 1 else ''}",
        f"goes on in {trainer.default_root_dir}" if trainer.ckpt_path else f"into {trainer.default_root_dir}",
    ]
    return "fit: " + "; ".join(part for part in parts if part)


def write_metrics(trainer: pl.Trainer) -> list[Row]:
    """Merges what the CSV loggers of all parts have written; nothing where there is none."""
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.save()
            rows = merged_metrics(parts_of(Path(logger.root_dir)))
            if rows:
                save_metrics(rows, Path(trainer.default_root_dir) / RESULTS)
            return rows
    return []


def closing_lines(trainer: pl.Trainer, rows: list[Row]) -> str:
    """The table, the files, and the next command."""
    folder = Path(trainer.default_root_dir)
    best = next((c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor), None)
    best_path = Path(best.best_model_path) if best is not None and best.best_model_path else None
    lines = validation_table(rows)
    if best_path is not None and best is not None and best.best_model_score is not None:
        lines.append(f"best: {_short(best_path)} ({best.monitor} {float(best.best_model_score):.2f})")
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        lines.append(f"last: {_short(last)}")
    lines.append(f"files: {_short(folder / RESULTS)}: {METRICS}, {CURVES}, and each validation under val/")
    chosen = best_path or last
    lines.append(f"next:  clicklab evaluate {_short(chosen)} --data GrabCut=FOLDER --output runs/eval-{folder.name}")
    if any(isinstance(one, WandbLogger) for one in trainer.loggers) and os.environ.get("WANDB_MODE") != "disabled":
        lines.append(f"W&B:   wandb sync {_short(folder)}/wandb/offline-run-*    (where it ran offline)")
    return "\n".join(lines)


def validation_table(rows: list[Row]) -> list[str]:
    """Step, loss and NoC of every validation; of many the first one and the last ones."""
    measured = [row for row in rows if any(name.startswith("val/NoC@") and row.get(name) for name in row)]
    if not measured:
        return ["No validation: last.ckpt is the result."]
    names = [name for name in measured[-1] if name.startswith("val/") and "NoC@" in name and measured[-1].get(name)]
    mean = [name for name in names if name.count("/") == 1]
    names = (mean + [name for name in names if name not in mean])[:8]
    if len({name.split("/")[1] for name in names if name.count("/") == 2}) == 1:
        names = mean or names  # the mean over one dataset is that dataset
    heading = ["step", *(name.removeprefix("val/").replace("/", " ") for name in names)]
    shown = measured if len(measured) <= SHOWN else [measured[0], *measured[1 - SHOWN :]]
    body = [
        [str(int(float(row["step"])) + 1), *(f"{float(row[name]):.2f}" if row.get(name) else "" for name in names)]
        for row in shown
    ]
    widths = [max(len(line[place]) for line in [heading, *body]) for place in range(len(heading))]
    text = ["  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)) for line in [heading, *body]]
    if len(shown) < len(measured):
        text.insert(2, f"... ({len(measured) - len(shown)} more in {METRICS})")
    return text


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e5 else str(number)


def _short(path: Path) -> str:
    """Relative to where the command was started, if it lies there."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
