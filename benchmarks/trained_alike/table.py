"""Nine methods trained alike at small scale and measured under one protocol; sizes.yaml says how.

    python benchmarks/trained_alike/table.py --size cpu --data-root ../shared/data [--only METHOD ...] [--collect]

What is missing is trained and measured, then the table is printed as Markdown. The same command goes on where it was
stopped; several processes may share the work.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from clicklab.commands.errors import run_script
from clicklab.tables.plan import Run, Site
from clicklab.tables.run import run_missing
from clicklab.whole_file import written_whole

HERE = Path(__file__).resolve().parent
EXPERIMENTS = HERE.parents[1] / "experiments"
AUGMENTATION = "stretched_wide_colour"  # small networks see the whole image small, as in evaluation
TARGETS = {
    "merge_prob": 0.15,
    "max_merged": 2,
    "stuff_prob": 0.0,
    "min_object_area": 40,
    "keep_background_prob": 0.0,
    "min_part_area": 0,  # FocalClick's and VTMR's own are for larger crops
    "max_share": 1.0,
}
METRICS = ("NoC@85", "NoC@90", "NoC@95")


@dataclass(frozen=True)
class Trained:
    """One training, and the evaluations of what it left.

    Attributes:
        method: of `clicklab.methods`.
        seed: of weights, samples and clicks.
        fit: the training.
        measured: preset -> its evaluation.
    """

    method: str
    seed: int
    fit: Run
    measured: Mapping[str, Run]


def main() -> None:
    """Runs what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="cpu", help="an entry of the file (default %(default)s)")
    parser.add_argument("--file", type=Path, default=HERE / "sizes.yaml", help="sizes and limits (default: sizes.yaml)")
    parser.add_argument(
        "--data-root", type=Path, required=True, metavar="DIR", help="GrabCut, COCO_MVal, BSDS500, train/"
    )
    parser.add_argument("--runs", type=Path, metavar="DIR", help="default: runs/trained-alike-SIZE")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="leave the others for later")
    parser.add_argument("--collect", action="store_true", help="run nothing: print what there is")
    options = parser.parse_args()
    size = read_size(options.file, options.size)
    site = Site(
        EXPERIMENTS, options.data_root, Path("checkpoints"), options.runs or Path(f"runs/trained-alike-{options.size}")
    )
    methods = options.only or list(size["networks"])
    trained = [plan(method, seed, size, site) for seed in size["seeds"] for method in methods]
    failed = 0 if options.collect else run_all(trained, size, site)
    print(table(trained, size))
    if failed:
        sys.exit(1)


def read_size(path: Path, name: str) -> dict[str, Any]:
    """One entry of sizes.yaml. Raises ValueError for another name."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = [key for key, entry in entries.items() if isinstance(entry, dict)]
    if name not in known:
        raise ValueError(f"--size {name}: {path} has {', '.join(known)}")
    return entries[name]


def plan(method: str, seed: int, size: Mapping[str, Any], site: Site) -> Trained:
    """The commands of one method and seed."""
    folder = site.runs / f"{method}-{seed}"
    files = [EXPERIMENTS / "_base" / "trainer.yaml", EXPERIMENTS / method / "config.yaml", folder / "alike.yaml"]
    configs = [word for path in files for word in ("--config", str(path))]
    how = size["evaluate"]
    needs = tuple(site.data / name for name in [*how["datasets"], "BSDS500", "train"])
    fit = Run(folder, ("fit", *configs, f"--trainer.default_root_dir={folder}"), needs)
    data = [word for name in how["datasets"] for word in ("--data", f"{name}={site.data / name}")]
    limits = [word for name in ("limit", "max_clicks") if how.get(name) for word in (flag(name), str(how[name]))]
    measured = {}
    for preset in how["presets"]:
        output = folder / "results" / preset
        words = ["evaluate", str(folder / "checkpoints" / "last.ckpt"), *data, *limits, "--preset", preset]
        measured[preset] = Run(output, (*words, "--output", str(output)), needs)
    return Trained(method, seed, fit, measured)


def flag(name: str) -> str:
    """`max_clicks` as `--max-clicks`."""
    return f"--{name.replace('_', '-')}"


def run_all(trained: Sequence[Trained], size: Mapping[str, Any], site: Site) -> int:
    """Trains and measures one network after the other; returns how many commands failed."""
    by_folder = {one.fit.folder: one for one in trained}

    def prepare(run: Run) -> None:
        if run.command[0] == "fit":
            one = by_folder[run.folder]
            write_overlay(overlay(one.method, one.seed, size), run.folder / "alike.yaml")

    failed = 0
    for one in trained:
        failed += run_missing([one.fit], site, prepare)
        if one.fit.is_finished:  # or else it failed, or another process is at it
            failed += run_missing(list(one.measured.values()), site, prepare)
    return failed


def overlay(method: str, seed: int, size: Mapping[str, Any]) -> dict[str, Any]:
    """What is laid over a method's recipe, so that it is trained as all others are."""
    mixture = yaml.safe_load((EXPERIMENTS.parent / size["train"]).read_text(encoding="utf-8"))
    data = {
        "train": mixture["data"]["init_args"]["train"],
        "val": None,
        "crop_size": size["crop_size"],
        "batch_size": size["batch_size"],
        "epoch_length": size["samples"],
        "augmentation": AUGMENTATION,
        "targets": TARGETS,
        "zoom": None,
        "num_workers": 1,
    }
    if method != "cfr_icl":  # its copy-paste is a part of the method
        data["mix"] = None
    trainer = {"max_epochs": 1, "max_time": size["max_time"], "enable_progress_bar": False}
    trainer["precision"] = size.get("precision", "32-true")
    return {
        "seed_everything": seed,
        "model": {"init_args": size["networks"][method]},
        "data": {"init_args": data},
        "trainer": trainer,
    }


def write_overlay(settings: Mapping[str, Any], path: Path) -> None:
    """As YAML that `clicklab fit` reads."""
    with written_whole(path) as part:
        part.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def table(trained: Sequence[Trained], size: Mapping[str, Any]) -> str:
    """Markdown, a row for each method, dataset and preset; mean and standard deviation over the seeds."""
    limit = size["evaluate"].get("max_clicks", 20)
    heading = ["method", "preset", "dataset", "seeds", *METRICS, "IoU@1", "IoU@5", f"clicks needed (of {limit})"]
    heading += ["seconds a click", "parameters"]
    lines = [heading, ["---"] * len(heading)]
    for method in dict.fromkeys(one.method for one in trained):
        mine = [one for one in trained if one.method == method]
        for preset in size["evaluate"]["presets"]:
            lines += list(rows(method, preset, [one for one in mine if one.measured[preset].is_finished]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rows(method: str, preset: str, measured: Sequence[Trained]) -> Iterator[list[str]]:
    """A line for each dataset; candidates picked by the ground truth (`-oracle`) have one of their own."""
    if not measured:
        return
    files = [json.loads((one.measured[preset].folder / "results.json").read_text()) for one in measured]
    parameters = f"{count_parameters(measured[0]) / 1e6:.2f} M"
    for dataset in files[0]["datasets"]:
        records = [file["datasets"][dataset] for file in files]
        numbers = [
            with_spread([record["noc"][metric.removeprefix("NoC@")] for record in records]) for metric in METRICS
        ]
        numbers += [with_spread([record["miou"][k - 1] for record in records], 3) for k in (1, 5)]
        numbers.append(with_spread([mean(len(row["clicks"]) for row in record["objects"]) for record in records]))
        numbers.append(f"{mean(record['spc'] for record in records):.3f}")
        yield [method, preset, dataset, str(len(records)), *numbers, parameters]


def with_spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and, of several, standard deviation."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def count_parameters(one: Trained) -> int:
    """Numbers that the network holds."""
    import clicklab

    network = clicklab.load(one.fit.folder / "checkpoints" / "last.ckpt")
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    sys.exit(run_script(main))
