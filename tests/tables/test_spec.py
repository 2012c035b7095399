"""The file of tables: it says what the papers say, and everything that it names exists."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clicklab.commands.main import build_parser
from clicklab.methods import METHODS
from clicklab.tables.plan import Site, evaluation, variant_of
from clicklab.tables.spec import Column, read_tables

REPOSITORY = Path(__file__).resolve().parents[2]
EXPERIMENTS = REPOSITORY / "experiments"
TABLES = read_tables(EXPERIMENTS / "tables.yaml")
SITE = Site(EXPERIMENTS, Path("data"), Path("checkpoints"), Path("runs"))


def published(table: str, row: str, column: str) -> float | None:
    found = TABLES[table]
    (entry,) = (entry for entry in found.rows if entry.name == row)
    return entry.published[list(map(str, found.columns)).index(column)]


def test_every_paper_is_there_with_all_its_tables():
    numbered = [name for name in TABLES if name.rpartition("-")[2].isdigit()]
    counts = {
        paper: sum(name.startswith(f"{paper}-") for name in numbered) for paper in {t.paper for t in TABLES.values()}
    }
    assert counts == {"disnet": 5, "vtmr": 6, "piclick": 7, "cfr_icl": 4, "icmformer": 5}


@pytest.mark.parametrize(
    ("table", "row", "column", "value"),
    [  # read once more in the papers, in places where columns are easily shifted
        ("disnet-3", "first 15, other 15", "Berkeley NoC@90", 2.09),
        ("disnet-4", "C+L & hierarchy", "DAVIS NoF@90", 45),
        ("vtmr-1", "VTMR-segformerB3", "DAVIS NoC@85", 3.26),
        ("vtmr-2", "VTMR-segformerB3", "Berkeley SPC", 0.054),
        ("piclick-1", "PiClick ViT-L", "COCO_MVal NoC@90", 2.57),
        ("piclick-1", "SimpleClick ViT-B, 62 epochs", "PascalVOC NoC@85", 2.09),
        ("piclick-2", "PiClick ViT-B", "OAIZIB NoC@80", 10.43),
        ("cfr_icl-4", "*CFR-ICL CFR-1 ViT-H", "Berkeley NoC@95", 2.90),
        ("cfr_icl-4", "#RITM HRNet18", "PascalVOC NoC@90", None),
        ("icmformer-1", "iCMFormer Swin-B ‡", "SBD NoC@85", 3.12),
        ("icmformer-4", "hierarchy", "SBD NoC@90", 5.57),
    ],
)
def test_numbers_stand_in_their_columns(table, row, column, value):
    assert published(table, row, column) == value


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_what_rows_name_exists(table):
    known = yaml.safe_load((REPOSITORY / "checkpoints" / "catalog.yaml").read_text())
    parser = build_parser("evaluate")
    for row in table.rows:
        if row.method is None:
            continue
        assert row.method in {*METHODS, "cfr_icl"}
        for overlay in ("config", *row.overlays):
            assert (EXPERIMENTS / row.method / f"{overlay}.yaml").is_file()
        assert row.released is None or any(row.released in entry["files"] for entry in known.values())
        run = evaluation(row, "GrabCut", SITE)
        parser.parse_args(list(run.command))  # every option is one of `clicklab evaluate`


def test_the_variant_is_that_of_the_last_overlay_that_names_one():
    rows = {row.name: row for row in TABLES["piclick-1"].rows}
    assert variant_of(rows["PiClick ViT-B"], SITE) == "base"
    assert variant_of(rows["SimpleClick ViT-L, 62 epochs"], SITE) == "large"
    assert variant_of(rows["CDNet ResNet-34"], SITE) is None


def test_mean_columns_want_the_datasets_they_are_taken_over():
    assert TABLES["piclick-6"].datasets == TABLES["piclick-6"].over
    assert TABLES["icmformer-3"].columns[0] == Column("GrabCut", "params")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "mapping"),
        ("t: {source: x, rows: []}", "columns"),
        ("t: {source: x, columns: {A: [NoC@90]}, rows: [{name: r, published: [1, 2]}]}", "2 published numbers"),
        ("t: [", "not YAML"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path, text, said):
    path = tmp_path / "tables.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_tables(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
