"""The HTML report as one file: no request leaves it, so that it can be mailed, archived and opened anywhere."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from clicklab.visualize.click_histogram import histogram_figure
from clicklab.visualize.comparison import Cell, Comparison, compare, shown
from clicklab.visualize.comparison_curves import STYLE, curves_figure
from clicklab.visualize.report_data import table_of_objects
from clicklab.visualize.results_file import Run
from clicklab.visualize.run_differences import differences, verdict

PARTS = files("clicklab.visualize") / "page"


def report_page(run: Run, against: Run | None, pictures: Sequence[Mapping[str, Any]], hint: str) -> str:
    """The page.

    Args:
        run: what is reported.
        against: another run, held against it.
        pictures: `report_data.picture_data` of the objects that are shown.
        hint: what is shown of the dialogues, and why there is not more.
    """
    runs = [run] if against is None else [run, against]
    with mpl.rc_context(STYLE):
        curves, histogram = inline_svg(curves_figure(runs)), inline_svg(histogram_figure(runs))
    content = {
        "table": table_of_objects(run, against),
        "pictures": list(pictures),
        "against": "" if against is None else against.label,
    }
    table = compare(runs, metrics=_metrics(run))
    filled = {
        "title": html.escape(" against ".join(one.label for one in runs)),
        "facts": "<br>".join(html.escape(_facts(one)) for one in runs),
        "summary": summary_table(table),
        "notes": note_list(table),
        "differences": difference_table(runs, table),
        "curves": curves,
        "histogram": histogram,
        "hint": html.escape(hint),
        "style": (PARTS / "report.css").read_text(),
        "script": (PARTS / "report.js").read_text(),
        "data": json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),  # no tag ends inside it
    }
    page = (PARTS / "report.html").read_text()
    for name, text in filled.items():
        page = page.replace("{{" + name + "}}", text)
    return page


def save_page(page: str, path: Path) -> None:
    """Writes the page beside its place and renames it: what was there stays whole until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(page, encoding="utf-8", errors="replace")
    unfinished.replace(path)


def inline_svg(figure: Figure) -> str:
    """A figure as an SVG element for a page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def summary_table(table: Comparison) -> str:
    """Rows for every run and dataset, columns for the metrics."""
    heading = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ["", "dataset", *table.metrics])
    lines = []
    for row in table.rows:
        for dataset in table.datasets:
            cells = [(row.cells[dataset, metric], metric) for metric in table.metrics]
            if all(cell.value is None for cell, _ in cells):
                continue
            numbers = "".join(f"<td>{_number(cell, metric)}</td>" for cell, metric in cells)
            lines.append(f"<tr><td>{html.escape(row.label)}</td><td>{html.escape(dataset)}</td>{numbers}</tr>")
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _number(cell: Cell, metric: str) -> str:
    text = shown(cell.value, metric)
    return f"<b>{text}</b>" if cell.best else text


def note_list(table: Comparison) -> str:
    """What differs between the runs, and how candidates were chosen."""
    items = [f"<li>{html.escape(text)}</li>" for text in table.notes.values()]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def difference_table(runs: Sequence[Run], table: Comparison) -> str:
    """Differences in clicks with their intervals; nothing of a single run."""
    found = differences(runs, table.metrics)
    if not found:
        return ""
    names = [
        "dataset",
        "metric",
        f"{found[0].run} − {found[0].against}",
        "95 % interval",
        "",
        "objects fewer / more / equal",
    ]
    heading = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    lines = []
    for one in found:
        mean, low, high = one.interval
        equal = one.objects - one.fewer - one.more
        numbers = [f"{mean:+.2f} clicks", f"{low:+.2f} to {high:+.2f}", verdict(one.interval)]
        cells = [one.dataset, one.metric, *numbers, f"{one.fewer} / {one.more} / {equal}"]
        lines.append("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in cells) + "</tr>")
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _metrics(run: Run) -> list[str]:
    """The columns of the summary: all NoC and NoF, IoU after some clicks, seconds per click."""
    record = next(iter(run.datasets.values()))
    clicks = [k for k in (1, 3, 5, 10, 20) if k <= len(record["miou"])]
    noc, nof = ([f"{title}@{key}" for key in record[title.lower()]] for title in ("NoC", "NoF"))
    return [*noc, *nof, *(f"IoU@{k}" for k in clicks), "SPC"]


def _facts(run: Run) -> str:
    """What was measured, in one line."""
    protocol = run.protocol
    source = run.run.get("source")
    stop = protocol.get("target_iou", 1.01)
    parts = [
        f"{run.label}: {protocol.get('network', 'a network')}{f' from {source}' if source else ''}",
        f"preset {protocol.get('preset')}",
        f"at most {protocol['max_clicks']} clicks",
        "all clicks played" if stop > 1 else f"an object stops at IoU {stop:g}",
        *(f"{name}: {len(record['objects'])} objects" for name, record in run.datasets.items()),
    ]
    versions = protocol.get("versions", {})
    if "clicklab" in versions:
        parts.append(f"ClickLab {versions['clicklab']}, PyTorch {versions.get('torch')}")
    return "; ".join(parts)
