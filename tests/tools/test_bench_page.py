"""The report of `bench` is one page that a browser shows, also on a phone."""

import html.parser
import json
import re
import shutil
import struct
import subprocess

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("typer")
pytest.importorskip("rich")

from scdataset_core.tools.bench_page import page_of, save_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
PHONE = 360  # CSS pixels


def grid_of(rate):
    return [
        {
            "block_size": b,
            "fetch_factor": f,
            "cells_per_s": None if f == 256 else rate * (b + f),
            "turns": [],
            "memory": 1000 * f,
            "predicted_entropy": 0.99,
            "measured_entropy": 1.001 / b,
        }
        for b in (1, 4, 16, 64, 256)
        for f in (1, 4, 16, 64, 256)
    ]


@pytest.fixture(scope="module")
def report():
    grid = grid_of(1234.5)
    return {
        "machine": {"processor": "a <very> long name of a processor, 96 cores"},
        "data": {
            "files": ["/data/plate<1>.h5ad", "/data/plate2.h5ad"],
            "cells": 200_000,
            "genes": 62_710,
            "stored_per_cell": 1957.3,
            "arrays": [{"name": "/X/data", "dtype": "float32", "codec": "deflate"}],
        },
        "batch_size": 64,
        "label": "plate",
        "grid": grid,
        "best": grid[12],
        "line": "strategy = scd.BlockShuffling(block_size=16)\nloader = scd.Loader("
        "source, strategy, batch_size=64, fetch_factor=16)",
        "threads": [
            {"threads": n, "cells_per_s": 1e4 * n, "turns": []} for n in (1, 2)
        ],
        "entropy": {"random": 1.97, "best": 1.93},
        "needs_cache": True,
        "cache": {
            "fill_s": 12.0,
            "bytes": 10**9,
            "share": 1.0,
            "grid": [one for one in grid_of(9000.0) if one["cells_per_s"]],
        },
        "against": [
            {
                "name": "scdataset",
                "version": "0.3.0",
                "error": None,
                "convert_s": None,
                "settings": [
                    {
                        "block_size": b,
                        "fetch_factor": b,
                        "cells_per_s": 900.0,
                        "turns": [],
                        "ours": 1e4,
                        "times": 11.1,
                    }
                    for b in (1, 16)
                ],
            },
            {
                "name": "annbatch",
                "version": None,
                "error": "is not installed; install it with `pip install annbatch`",
                "convert_s": None,
                "settings": [],
            },
        ],
        "seconds": 61.0,
    }


class Outline(html.parser.HTMLParser):
    """Collects the elements of a page, and the texts of its tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self._cell = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._cell &= tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def check_outline(page):
    """Check what a page must have, as written or as a browser has it."""
    outline = Outline(page)
    sections = [attrs["id"] for attrs in outline.all("section")]
    assert sections == [
        "speed",
        "cache",
        "entropy",
        "threads",
        "against",
        "conditions",
    ]
    drawings = outline.all("svg")
    assert len(drawings) == 5
    assert all(one["role"] == "img" and one["aria-label"] for one in drawings)
    assert len(outline.tables) == 7
    assert len(outline.all("caption")) == 7
    assert {one["scope"] for one in outline.all("th")} == {"col", "row"}
    speed = outline.tables[0]
    assert speed[0] == ["", "f=1", "f=4", "f=16", "f=64", "f=256"]
    assert speed[3] == ["b=16", "20,986", "24,690", "39,504 *", "98,760", "-"]
    assert outline.tables[2][1][1] == "100.0%"
    assert outline.tables[4][2] == ["b=1 f=1", "scdataset", "900", "11.1x"]


def test_the_page_has_tables_and_drawings_and_asks_for_nothing(report):
    page = page_of(report)
    check_outline(page)
    assert "plate&lt;1&gt;.h5ad" in page
    assert "a &lt;very&gt; long name" in page
    assert "annbatch is not installed" in page
    outline = Outline(page)
    for tag in ("script", "link", "img", "image", "iframe", "object", "base"):
        assert outline.all(tag) == []
    assert re.findall(r"https?:|//\w|@import|url\((?!#)", page) == []
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    asked = re.findall(r'(?:href="|url\()#([\w-]+)', page)
    assert set(asked) <= set(names)
    assert "prefers-color-scheme: dark" in page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_chromium_shows_it_at_the_width_of_a_phone(report, tmp_path):
    save_page(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    check_outline(run_chromium(tmp_path, "report.html", "--dump-dom"))
    # A copy that measures itself; the page itself permits no script.
    script = """<script>
    const box = element => element.getBoundingClientRect();
    const found = {
      wide: document.documentElement.scrollWidth, window: innerWidth,
      drawings: [...document.querySelectorAll("svg")].map(
        e => [box(e).width, box(e).height]),
      tables: [...document.querySelectorAll("table")].map(e => box(e).height),
      texts: [...document.querySelectorAll("svg text")].map(e => box(e).height),
      ink: getComputedStyle(document.body).color,
    };
    document.title = JSON.stringify(found);
    </script></body>"""
    copy = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", script)
    (tmp_path / "copy.html").write_text(copy, "utf-8")
    dom = run_chromium(tmp_path, "copy.html", "--dump-dom")
    (title,) = re.findall(r"<title>(.*?)</title>", dom)
    found = json.loads(title)
    assert found["window"] <= 500
    assert found["wide"] <= found["window"]  # nothing has to be moved sideways
    assert all(200 < width <= found["window"] for width, _ in found["drawings"])
    assert all(height > 100 for _, height in found["drawings"])
    assert all(height > 20 for height in found["tables"])
    assert min(found["texts"]) >= 9  # pixels: small, but a phone has them fine
    run_chromium(tmp_path, "report.html", f"--screenshot={tmp_path / 'shot.png'}")
    shot = (tmp_path / "shot.png").read_bytes()
    assert struct.unpack(">II", shot[16:24]) == (PHONE, 800)
    assert len(shot) > 10_000  # not a blank page


def run_chromium(folder, page, *options):
    """Return what headless Chromium prints of a page."""
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={PHONE},800",
        *options,
        (folder / page).as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout
