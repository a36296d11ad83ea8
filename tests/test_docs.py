"""Every Python example of the README and the docs runs as printed.

A page is one script: its ```` ```python ```` blocks, in order, in a folder that holds
``plates/*.h5ad``. A comment ``<!-- skip: reason -->`` on the line before a block leaves
that block out; ``<!-- needs: torch, optax -->`` anywhere on a page runs the page only
where those packages are installed.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python[^\n]*\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SKIP = re.compile(r"<!-- skip: [^\n]+ -->\n+$")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
NEEDS = re.compile(r"<!-- needs: ([\w., ]+) -->")


def script(page: str) -> str:
    """Return a page's blocks as one script whose line numbers are the page's."""
    lines: list[str] = []
    for block in FENCE.finditer(page):
        if SKIP.search(page[: block.start()]):
            continue
        first = page.count("\n", 0, block.start(1))
        lines += [""] * (first - len(lines)) + block.group(1).splitlines()
    return "\n".join(lines) + "\n" if lines else ""


def test_script_keeps_line_numbers_and_leaves_out_skipped_blocks() -> None:
    page = (
        "# Title\n```python\na = 1\n```\ntext\n"
        "<!-- skip: needs a cluster -->\n```python\nb = 2\n```\n"
        "```bash\nls\n```\n```python\nassert a == 1\n```\n"
    )
    lines = script(page).splitlines()
    assert {i + 1: line for i, line in enumerate(lines) if line} == {
        3: "a = 1",
        14: "assert a == 1",
    }


pages = pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.relative_to(ROOT).as_posix()) for p in PAGES]
)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    if not page.exists():
        pytest.skip("needs the source tree")
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [name for name in targets if not (page.parent / name).exists()] == []


@pages
def test_page_runs_as_printed(page: Path, plates: Path, tmp_path: Path) -> None:
    if not page.exists():
        pytest.skip("needs the source tree")
    text = page.read_text(encoding="utf-8")
    code = script(text)
    if not code:
        pytest.skip("no Python on this page")
    for group in NEEDS.findall(text):
        for package in group.split(","):
            pytest.importorskip(package.strip())
    shutil.copytree(plates, tmp_path / "plates")
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    roots = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    out = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "page.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": roots},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, f"{page.name}:\n{out.stdout}\n{out.stderr}"
