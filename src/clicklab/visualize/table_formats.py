"""A comparison as text, Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from clicklab.visualize.comparison import Cell, Comparison, Row, shown

PUBLISHED = "published"
LATEX_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "×": r"$\times$",
}


def as_text(table: Comparison) -> str:
    """For a terminal: columns in line, a star behind the best, letters of notes behind numbers and names."""
    heading = [["", *(dataset for dataset, _ in table.columns)], ["", *(metric for _, metric in table.columns)]]
    for place in range(len(table.columns), 1, -1):  # the dataset's name stands over its first column only
        if heading[0][place] == heading[0][place - 1]:
            heading[0][place] = ""
    lines = [[_text_label(row), *(_text_cell(row.cells[c], c[1]) for c in table.columns)] for row in table.rows]
    widths = [max(len(line[place]) for line in [*heading, *lines]) for place in range(len(heading[0]))]
    written = [_text_line(line, widths) for line in [*heading, *lines]]
    rule = "-" * max(len(line) for line in written)
    written.insert(2, rule)
    own = sum(not row.published for row in table.rows)
    if own < len(table.rows):
        written.insert(3 + own, f"{PUBLISHED:-<{len(rule)}}")
    return "\n".join([*written, "", *_text_notes(table)])


def _text_line(words: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(words, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(word.rjust(width) for word, width in others)]).rstrip()


def _text_label(row: Row) -> str:
    return f"{row.label} ({','.join(row.marks)})" if row.marks else row.label


def _text_cell(cell: Cell, metric: str) -> str:
    """The star and the letters have their own places, so that the numbers stay in line."""
    letters = ",".join(cell.marks)
    return f"{shown(cell.value, metric)}{'*' if cell.best else ' '}{letters}"


def _text_notes(table: Comparison) -> list[str]:
    notes = ["* best of those made under the same conditions"] if _has_best(table) else []
    notes += [f"{letter} {text}" for letter, text in table.notes.items()]
    return [*notes, *(f"{source}: {', '.join(labels)}" for source, labels in sources_of(table).items())]


def as_markdown(table: Comparison) -> str:
    """For a README: the best in bold, published rows in italics."""
    heading = ["method", *(f"{dataset} {metric}" for dataset, metric in table.columns)]
    lines = [heading, ["---", *("--:" for _ in table.columns)]]
    for row in table.rows:
        label = _markdown_safe(row.label)
        label = f"*{label}*" if row.published else label
        numbers = [_markdown_cell(row.cells[column], column[1]) for column in table.columns]
        lines.append([label + _raised(row.marks), *numbers])
    text = ["| " + " | ".join(line) + " |" for line in lines]
    notes = ["Bold: best of those made under the same conditions."] if _has_best(table) else []
    notes += [f"<sup>{letter}</sup> {_markdown_safe(note)}" for letter, note in table.notes.items()]
    if sources := sources_of(table):
        notes.append(f"Italics: {PUBLISHED} ({_markdown_safe('; '.join(sources))}).")
    return "\n".join([*text, "", "<br>\n".join(notes)])


def _markdown_cell(cell: Cell, metric: str) -> str:
    number = shown(cell.value, metric)
    return (f"**{number}**" if cell.best else number) + _raised(cell.marks)


def _raised(marks: Sequence[str]) -> str:
    return f"<sup>{','.join(marks)}</sup>" if marks else ""


def _markdown_safe(text: str) -> str:
    for character in "|*_<":
        text = text.replace(character, f"\\{character}")
    return text


def as_latex(table: Comparison) -> str:
    """For a paper: a `tabular` that wants the package booktabs."""
    count = len(table.metrics)
    groups = [
        rf"\multicolumn{{{count}}}{{c}}{{{_latex_safe(dataset)}}}" if count > 1 else _latex_safe(dataset)
        for dataset in table.datasets
    ]
    rules = [rf"\cmidrule(lr){{{2 + n * count}-{1 + (n + 1) * count}}}" for n in range(len(table.datasets))]
    lines = [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule", _latex_row(["", *groups])]
    lines += [" ".join(rules), _latex_row(["Method", *(_latex_safe(metric) for _, metric in table.columns)])]
    lines.append(r"\midrule")
    for place, row in enumerate(table.rows):
        if row.published and not table.rows[place - 1].published:
            span = len(table.columns) + 1
            lines += [r"\midrule", rf"\multicolumn{{{span}}}{{l}}{{\emph{{{PUBLISHED}}}}} \\"]
        numbers = [_latex_cell(row.cells[column], column[1]) for column in table.columns]
        lines.append(_latex_row([_latex_safe(row.label) + _latex_raised(row.marks), *numbers]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    notes = [f"$^{{{letter}}}$ {_latex_safe(text)}." for letter, text in table.notes.items()]
    notes += [rf"{_latex_safe(source)}: {_latex_safe(', '.join(rows))}." for source, rows in sources_of(table).items()]
    below = (
        [r"\par\smallskip", r"{\footnotesize", *(rf"{note}\\" for note in notes[:-1]), *notes[-1:], "}"]
        if notes
        else []
    )
    return "\n".join([r"% \usepackage{booktabs}", *lines, *below])


def _latex_row(words: Sequence[str]) -> str:
    return " & ".join(words) + r" \\"


def _latex_cell(cell: Cell, metric: str) -> str:
    number = _latex_safe(shown(cell.value, metric))
    return (rf"\textbf{{{number}}}" if cell.best else number) + _latex_raised(cell.marks)


def _latex_raised(marks: Sequence[str]) -> str:
    return f"$^{{{','.join(marks)}}}$" if marks else ""


def _latex_safe(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)


def as_csv(table: Comparison) -> str:
    """For a program: one line per number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", "from", "source", "dataset", "metric", "value", "best", "notes"])
    for row in table.rows:
        origin = PUBLISHED if row.published else "measured"
        for column in table.columns:
            cell = row.cells[column]
            if cell.value is None:
                continue
            notes = "; ".join(table.notes[letter] for letter in (*row.marks, *cell.marks))
            best = "best" if cell.best else ""
            writer.writerow([row.label, origin, row.source, *column, f"{cell.value:.6g}", best, notes])
    return file.getvalue()


def sources_of(table: Comparison) -> dict[str, list[str]]:
    """Source of published numbers -> rows that come from it."""
    sources: dict[str, list[str]] = {}
    for row in table.rows:
        if row.published:
            sources.setdefault(row.source, []).append(row.label)
    return sources


def _has_best(table: Comparison) -> bool:
    return any(cell.best for row in table.rows for cell in row.cells.values())


FORMATS: dict[str, tuple[Callable[[Comparison], str], str]] = {  # name -> writer, ending of its file
    "text": (as_text, "txt"),
    "markdown": (as_markdown, "md"),
    "latex": (as_latex, "tex"),
    "csv": (as_csv, "csv"),
}
