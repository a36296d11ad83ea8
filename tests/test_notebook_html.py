"""Objects show themselves as small tables in notebooks; everything is escaped."""

import numpy as np

import scdataset_core as scd
from scdataset_core.notebook_html import html_of_text, html_table


def test_text_becomes_a_title_and_rows():
    html = html_of_text("Source of <5> cells\n  X: sparse,\n    float32\n  a   5  1%")
    assert html.startswith("<div><div>Source of &lt;5&gt; cells</div>")
    assert html.count("<tr>") == 2
    assert "<b>X</b>" in html
    assert "sparse, float32" in html
    assert html.count("<td") == 2 + 3


def test_cells_are_escaped():
    assert "<script>" not in html_table("<script>", [("<script>", "<script>")])


def test_what_users_look_at_has_html(tmp_path):
    source = scd.open(np.ones((40, 3), np.float32))
    loader = scd.Loader(source, batch_size=8)
    next(iter(loader))
    parts = scd.split(source, {"train": 0.8, "test": 0.2})
    rows, table = scd.RowSet.of(9, [1, 2]), parts.table()
    for shown in (source, loader, loader.stats, parts, rows, table):
        html = shown._repr_html_()
        assert html.startswith("<div>")
        assert html.count("<table>") == 1
    assert "40 cells" in source._repr_html_()
