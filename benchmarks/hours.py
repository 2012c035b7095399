"""On paper: how long the published recipes train, from measured steps. An estimate; no such training was run for it.

    python benchmarks/hours.py [FILE.json ...] [--costs FILE.json] [--only METHOD[:OVERLAY,OVERLAY] ...] [--devices 8]

The files are what `train_step.py --gpu` wrote, one per network and batch. Samples and steps come from
experiments/*/*.yaml. Hours on one device are those of the recipe's batch, hours on several those of each one's share of
it, so measure both: small batches are slower per sample. The share is taken from the file with the nearest batch.

    hours = samples / (measured samples per second * devices * efficiency)

With `--costs`, what `step_cost.py` wrote, steps that nobody measured are estimated and marked `~`: they take as long
as their operations to be started or their arithmetic to be done, whichever is longer, both at the highest rate that a
measured step reached. Networks of many small convolutions (HRNet) do their arithmetic at a lower rate, so where it
takes longer `~` is a lower limit for them. CFR-ICL's rounds are counted as those of its network's own method.

`--efficiency` is an assumption, for what one device does not show: devices wait for the slowest and for the sum of
their gradients. The column `all-reduce` helps to judge it. A ring moves 2 (N - 1) / N of the gradients, 4 bytes per
parameter, through every device; at `--interconnect` GB/s that takes so many per cent of a step, of which DDP hides most
behind the backward pass. Evaluation, checkpoints and waiting for data are not in it: the loaders of all devices
together have to deliver what the column `samples/s` of several devices says.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from omegaconf import OmegaConf

from clicklab.commands.errors import run_script
from clicklab.methods import method_package

REPOSITORY = Path(__file__).resolve().parents[1]
EXPERIMENTS = REPOSITORY / "experiments"
CATALOG = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "checkpoints" / "catalog.yaml"))


@dataclass(frozen=True)
class Recipe:
    """What a training costs.

    Attributes:
        module: class path of the LightningModule.
        network: method and variant of the network that learns.
        pixels: of a crop.
        samples: of the whole training.
        batch: over all devices.
        steps: of the optimiser.
    """

    module: str
    network: tuple[str, str]
    pixels: int
    samples: int
    batch: int
    steps: int


def settings(method: str, overlays: list[str]) -> dict[str, Any]:
    """The merged files of a recipe, interpolations left as they are."""
    files = [EXPERIMENTS / method / f"{name}.yaml" for name in ("config", *overlays)]
    merged: Any = OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.load, files)))
    return merged


def recipe(values: dict[str, Any]) -> Recipe:
    """What the merged files amount to."""
    data, module = values["data"]["init_args"], values["model"]["class_path"]
    samples = data.get("epoch_length") or sum(scenes(source["dataset"]) for source in data["train"])
    steps, epochs = samples // data["batch_size"], values["trainer"]["max_epochs"]
    crop = data["crop_size"]
    return Recipe(
        module=module,
        network=network_of(module, values["model"]["init_args"]),
        pixels=crop**2 if isinstance(crop, int) else crop[0] * crop[1],
        samples=steps * epochs * data["batch_size"],
        batch=data["batch_size"],
        steps=steps * epochs,
    )


def scenes(dataset: dict[str, Any]) -> int:
    """The published number of images of a dataset's split."""
    split = dataset.get("init_args", {}).get("split", "")
    published = resolve_name(dataset["class_path"]).published
    return published.get(f"{split} images") or published["images"]


def network_of(module: str, options: dict[str, Any]) -> tuple[str, str]:
    """Method and variant; for a training that goes on from a released file, those of the file."""
    method = module.split(".")[2]
    if "network" not in options:
        return method, options["variant"]
    file = Path(options["network"]["init_args"].get("path", "own")).name
    released = ((name, entry["files"][file]["variant"]) for name, entry in CATALOG.items() if file in entry["files"])
    return next(released, (method, file))


def published(only: list[str]) -> Iterator[tuple[str, list[str], Recipe]]:
    """(method, overlays, recipe) of those asked for; else of all but those for a CPU, each cost once per method."""
    for wish in only:
        method, _, overlays = wish.partition(":")
        chosen = overlays.split(",") if overlays else []
        yield method, chosen, recipe(settings(method, chosen))
    if only:
        return
    for folder in sorted(path for path in EXPERIMENTS.iterdir() if path.is_dir() and path.name != "_base"):
        seen: set[Recipe] = set()
        stems = sorted({path.stem for path in folder.glob("*.yaml")} - {"config", "sweep"})
        for overlays in [[], *(chain(folder, stem) for stem in stems)]:
            values = settings(folder.name, overlays)
            if values["trainer"].get("accelerator") != "cpu" and (found := recipe(values)) not in seen:
                seen.add(found)
                yield folder.name, overlays, found


def chain(folder: Path, stem: str) -> list[str]:
    """An overlay and before it those that it lies on, as its first line says."""
    below = re.match(r"# Overlay on (\w+)\.yaml", (folder / f"{stem}.yaml").read_text())
    return [*(chain(folder, below[1]) if below else []), stem]


def gigabytes(network: tuple[str, str]) -> float:
    """Gradients of a network, 4 bytes each also in mixed precision."""
    method, variant = network
    with torch.device("meta"):
        built = method_package(method).build({"variant": variant, "network_options": {}})
    return sum(4 * p.numel() for p in built.parameters()) / 1e9


def measured(records: list[dict[str, Any]], method: str, found: Recipe, batch: float, way: str) -> dict[str, Any]:
    """`samples per second` of one device and the `batch` and `device` it was measured with; nothing where it was not.

    Crops may differ by a twentieth of their pixels (RITM's 320 x 480 is nearly the square of 384 or 400).
    """
    fitting = [
        {"samples per second": record["rows"][way]["samples per second"]}
        | {"batch": record["batch"], "device": record.get("device")}
        for record in records
        if (record["method"], record["variant"]) == (method, found.network[1])
        and way in record["rows"]
        and abs(record["crop"] ** 2 / found.pixels - 1) < 0.05
    ]
    return min(fitting, key=lambda record: abs(math.log(record["batch"] / batch)), default={})


@dataclass(frozen=True)
class Estimate:
    """What steps of networks that nobody measured would take at the highest rates that measured ones reached.

    Attributes:
        costs: (method, variant) -> a network of `step_cost.py`'s record.
        started: operations that one device starts per second.
        arithmetic: operations that it does per second, a multiply-add counts as two.
    """

    costs: dict[tuple[str, str], dict[str, Any]]
    started: float
    arithmetic: float

    def of(self, network: tuple[str, str], batch: int) -> dict[str, Any]:
        """`samples per second` of one device with `batch` samples; nothing where rates or costs are not known."""
        cost = self.costs.get(network)
        if cost is None or not self.started:
            return {}
        seconds = max(cost["started"] / self.started, cost["arithmetic"] * batch / self.arithmetic)
        return {"samples per second": batch / seconds, "batch": batch}


def estimate_from(records: list[dict[str, Any]], networks: list[dict[str, Any]], way: str) -> Estimate:
    """The rates of all records of networks whose cost is known; 0 where there is none."""
    costs = {(network["method"], network["variant"]): network for network in networks}
    started = arithmetic = 0.0
    for record in records:
        cost = costs.get((record["method"], record["variant"]))
        if cost and way in record["rows"]:
            speed = record["rows"][way]["samples per second"]
            started = max(started, cost["started"] * speed / record["batch"])
            arithmetic = max(arithmetic, cost["arithmetic"] * speed)
    return Estimate(costs, started, arithmetic)


def row(
    method: str, overlays: list[str], found: Recipe, records: list[dict[str, Any]], estimate: Estimate, options: Any
) -> dict[str, Any]:
    """All that is known of a recipe; `devices` are the most, up to those asked for, that share its batch evenly."""
    devices = next(n for n in range(options.devices, 0, -1) if found.batch % n == 0)
    # one learnt pass after some rounds, as CFR-ICL's plain fine-tuning has, is a step of the network's own method
    steps = found.network[0] if found.module.endswith(".FineTune") else method
    one = measured(records, steps, found, found.batch, options.way)
    share = measured(records, steps, found, found.batch / devices, options.way)
    result = {"method": method, "overlays": overlays, **asdict(found), "devices": devices, "estimated": not one}
    if not one:
        network = steps, found.network[1]
        one, share = estimate.of(network, found.batch), estimate.of(network, found.batch // devices)
    if one:
        together = share["samples per second"] * devices * options.efficiency
        moved = 2 * (devices - 1) / devices * gigabytes(found.network)
        step = found.batch / devices / share["samples per second"]
        result["one"] = one | {"hours": found.samples / one["samples per second"] / 3600}
        result["several"] = share | {"samples per second": together, "hours": found.samples / together / 3600}
        result["several"] |= {"all-reduce": moved / options.interconnect / step}
    return result


def line(result: dict[str, Any]) -> str:
    """One row of the table; of overlays the last is named, it says which ones it lies on."""
    text = f"{result['method']:<13}{(result['overlays'] or ['config'])[-1]:<25}{result['network'][1]:<12}"
    text += f"{result['samples']:>10,}{result['batch']:>7}{result['steps']:>9,}"
    if "one" not in result:
        return text + f"{'-':>11}{'-':>8}{result['devices']:>9}{'-':>11}{'-':>8}{'-':>12}"
    one, several, mark = result["one"], result["several"], "~" if result["estimated"] else ""
    text += f"{one['samples per second']:>11.1f}{mark + format(one['hours'], '.1f'):>8}{result['devices']:>9}"
    text += f"{several['samples per second']:>11.1f}{mark + format(several['hours'], '.1f'):>8}"
    return text + f"{several['all-reduce']:>12.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="*", type=Path, metavar="FILE.json", help="what train_step.py wrote")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="METHOD[:OVERLAY,...]", help="default: every recipe for a GPU"
    )
    parser.add_argument("--costs", type=Path, metavar="FILE.json", help="what step_cost.py wrote: estimate the others")
    parser.add_argument("--way", default="bf16-mixed", help="row of the files to use (default %(default)s)")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--efficiency", type=float, default=0.9)
    parser.add_argument("--interconnect", type=float, default=100.0, metavar="GB/s", help="default %(default)g")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/hours.json"), metavar="FILE")
    options = parser.parse_args()
    records = [json.loads(path.read_text()) for path in options.records]
    networks = json.loads(options.costs.read_text())["networks"] if options.costs else []
    estimate = estimate_from(records, networks, options.way)
    print("An estimate from steps measured on one device; no such training was run. ~: not even its step was measured.")
    print(f"Several devices: efficiency {options.efficiency:g}, gradients over {options.interconnect:g} GB/s.\n")
    print(f"{'one device':>95}{'several devices':>40}")
    print(
        f"{'method':<13}{'recipe':<25}{'network':<12}{'samples':>10}{'batch':>7}{'steps':>9}"
        f"{'samples/s':>11}{'hours':>8}{'devices':>9}{'samples/s':>11}{'hours':>8}{'all-reduce':>12}"
    )
    rows = []
    for method, overlays, found in published(options.only):
        rows.append(row(method, overlays, found, records, estimate, options))
        print(line(rows[-1]), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    assumed = {name: getattr(options, name) for name in ("way", "efficiency", "interconnect")}
    options.output.write_text(json.dumps(assumed | {"recipes": rows}, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
