"""Every example of the README and the docs runs as printed.

A page is one script: its ```` ```python ```` blocks, in order. Its ```` ```bash ````
blocks, in order, are one session. Both run in a folder that holds ``plates/*.h5ad``,
made by the command that the README prints; a session has the docs beside it, as in a
clone.
Comments on the lines before a block steer it:

``<!-- skip: reason -->``
    It is not run.
``<!-- needs: tensorflow -->``
    It is run where the packages are installed; elsewhere on a page: the whole page is.
``<!-- alone -->``
    A Python script of its own, no part of the page's.
``<!-- with: --cells 300 -->``
    What is added to the last command of a bash block, to make it short.
``<!-- ci: name -->``
    `.ci/run` runs it, as it makes an environment or works on the whole tree.

The scripts and sessions of most pages are left to ``-m slow``: each takes a process.
``<!-- slow: python, bash -->`` leaves those of the README and the quickstart there too.

The messages that ``docs/troubleshooting.md`` quotes, its ```` ```text ```` blocks, are
the code's: what stands between two ``…`` is part of one text of some module.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
FENCE = re.compile(
    r"((?:^<!-- [^\n]+ -->\n)*)^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL
)
MARK = re.compile(r"<!-- (\w+)(?:: ([^\n]+))? -->")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
PATH = re.compile(
    r"`((?:scdataset_core|integrations|tests|docs)/[\w/.]*|pyproject.toml)`"
)
NEEDS = re.compile(r"^<!-- needs: ([\w., ]+) -->\n(?!<!--|```)", re.MULTILINE)
SLOW = re.compile(r"<!-- slow: ([\w, ]+) -->")
MAKES_PLATES = re.compile(r"^scdataset make-data plates ", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the comments before it."""

    language: str
    code: str
    line: int  # of its first line of code, counted from 0
    marks: dict[str, str]

    @property
    def is_run(self) -> bool:
        missing = lacking(self.marks.get("needs", ""))
        return not {"skip", "ci"} & set(self.marks) and not missing

    @property
    def command(self) -> str:
        return f"{self.code.rstrip()} {self.marks.get('with', '')}".rstrip() + "\n"


def lacking(packages: str) -> list[str]:
    """Return those of some packages that are not installed."""
    names = [name.strip() for name in packages.split(",") if name.strip()]
    return [name for name in names if find_spec(name.partition(".")[0]) is None]


def blocks(page: str) -> list[Block]:
    return [
        Block(
            found[2],
            found[3],
            page.count("\n", 0, found.start(3)),
            dict(MARK.findall(found[1])),
        )
        for found in FENCE.finditer(page)
    ]


def script(page: str) -> str:
    """Return a page's Python as one script whose line numbers are the page's."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python" and block.is_run and "alone" not in block.marks:
            lines += [""] * (block.line - len(lines)) + block.code.splitlines()
    return "\n".join(lines) + "\n" if lines else ""


def session(page: str, *, in_full: bool = False) -> str:
    """Return a page's commands as one bash script, made short unless `in_full`."""
    return "".join(
        block.code if in_full else block.command
        for block in blocks(page)
        if block.language == "bash" and block.is_run
    )


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


def label(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def pages_with(make: Callable[[str], Any], language: str) -> list[Any]:
    """Return the pages of which `make` makes something, slow ones marked.

    The commands of the README are not among them: they are run in full.
    """

    def is_slow(page: Path) -> bool:
        marked = any(language in words for words in SLOW.findall(read(page)))
        return marked or page not in (README, QUICKSTART)

    return [
        pytest.param(
            page,
            id=label(page),
            marks=[pytest.mark.slow] if is_slow(page) else [],
        )
        for page in PAGES
        if make(read(page)) and not (page == README and language == "bash")
    ]


def run(command: list[str], folder: Path) -> None:
    """Run what a user would, with the tools of this environment."""
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    roots = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    out = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": tools, "PYTHONPATH": roots, "MPLBACKEND": "Agg"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, f"{' '.join(command)}\n{out.stdout}\n{out.stderr}"


def run_bash(command: str, folder: Path) -> None:
    if shutil.which("bash") is None or find_spec("typer") is None:
        pytest.skip("needs bash and the extra cli")
    run(["bash", "-euo", "pipefail", "-c", command], folder)


def run_python(code: str, folder: Path) -> None:
    (folder / "page.py").write_text(code, encoding="utf-8")
    run([sys.executable, "-W", "error::UserWarning", "page.py"], folder)


def skip_where_packages_lack(page: Path) -> None:
    for packages in NEEDS.findall(read(page)):
        if missing := lacking(packages):
            pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="session")
def printed_plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the plates that the README's command makes."""
    made = [b.command for b in blocks(read(README)) if MAKES_PLATES.search(b.code)]
    assert len(made) == 1, "one block of the README makes the plates of all pages"
    folder = tmp_path_factory.mktemp("printed")
    run_bash(made[0], folder)
    return folder / "plates"


def test_blocks_keep_line_numbers_and_heed_their_comments() -> None:
    page = (
        "# Title\n```python\na = 1\n```\ntext\n"
        "<!-- skip: needs a cluster -->\n```python\nb = 2\n```\n"
        "<!-- with: -n 3 -->\n```bash\nls a \\\n  b\n```\n"
        "<!-- needs: no_such_package -->\n```bash\nrm\n```\n"
        "<!-- ci: environment -->\n```bash\npip\n```\n"
        "```bash\nls c\n```\n"
        "```python\nassert a == 1\n```\n"
        "<!-- alone -->\n```python\na\n```\n"
    )
    lines = script(page).splitlines()
    assert {i + 1: line for i, line in enumerate(lines) if line} == {
        3: "a = 1",
        27: "assert a == 1",
    }
    assert session(page) == "ls a \\\n  b -n 3\nls c\n"


in_repository = pytest.mark.skipif(not README.exists(), reason="needs the source tree")
# `.ci/run` tests the pages alone against the installed packages.
beside_the_code = pytest.mark.skipif(
    not (README.exists() and (ROOT / "scdataset_core").is_dir()),
    reason="needs the source tree",
)
every_page = pytest.mark.parametrize("page", pages_with(lambda _: True, ""))


@in_repository
@every_page
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(read(page))
    assert [name for name in targets if not (page.parent / name).exists()] == []


@beside_the_code
def test_paths_that_architecture_names_are_there() -> None:
    named = PATH.findall(read(ROOT / "docs" / "architecture.md"))
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []


@in_repository
@every_page
def test_comments_before_blocks_are_known_and_say_what(page: Path) -> None:
    of_nothing = {"alone", "results"}
    for block in blocks(read(page)):
        where = f"{label(page)}:{block.line}"
        known = {"skip", "with", "ci", "needs", "slow", *of_nothing}
        assert set(block.marks) <= known, where
        assert all(text or mark in of_nothing for mark, text in block.marks.items()), (
            where
        )


def texts_of_the_code() -> str:
    """Return every text of the packages' modules, one a line."""
    return "\n".join(
        " ".join(node.value.split())
        for package in ("scdataset_core", "integrations")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@beside_the_code
def test_messages_that_troubleshooting_quotes_are_those_of_the_code() -> None:
    texts = texts_of_the_code()
    quoted = [
        part.strip()
        for block in blocks(read(TROUBLESHOOTING))
        if block.language == "text"
        for line in block.code.splitlines()
        for part in line.split("…")
    ]
    assert len(quoted) > 50
    assert [part for part in quoted if part not in texts] == []


@in_repository
def test_ci_runs_the_blocks_that_are_left_to_it() -> None:
    ci = read(ROOT / ".ci" / "run")
    named = {
        block.marks["ci"]
        for page in PAGES
        for block in blocks(read(page))
        if "ci" in block.marks
    }
    assert {
        name for name in named if not re.search(rf"\bprinted \S+ {name}\b", ci)
    } == set()


@pytest.mark.timeout(900)  # clusters, if small ones
@pytest.mark.parametrize("page", pages_with(script, "python"))
def test_page_runs_as_printed(page: Path, printed_plates: Path, tmp_path: Path) -> None:
    skip_where_packages_lack(page)
    shutil.copytree(printed_plates, tmp_path / "plates")
    run_python(script(read(page)), tmp_path)


@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page, block, id=f"{label(page)}:{block.line + 1}")
        for page in PAGES
        for block in blocks(read(page))
        if block.language == "python" and block.is_run and "alone" in block.marks
    ],
)
@pytest.mark.slow
def test_script_runs_as_printed(
    page: Path, block: Block, printed_plates: Path, tmp_path: Path
) -> None:
    skip_where_packages_lack(page)
    shutil.copytree(printed_plates, tmp_path / "plates")
    run_python("\n" * block.line + block.code, tmp_path)


@in_repository
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_readme_runs_in_full(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    run_bash(session(read(README), in_full=True), tmp_path)
    run_python(script(read(README)), tmp_path)


@pytest.mark.timeout(1800)  # benchmarks, if short ones, of two minutes
@pytest.mark.parametrize("page", pages_with(session, "bash"))
def test_commands_run_as_printed(
    page: Path, printed_plates: Path, tmp_path: Path
) -> None:
    skip_where_packages_lack(page)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(printed_plates, tmp_path / "plates")
    run_bash(session(read(page)), tmp_path)
