"""The worker processes of a benchmark run: one for each library, asked in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from contestants import Setting

WORKER = Path(__file__).with_name("worker.py")


class WorkerProcess:
    """A running `worker.py`; a context manager that ends it."""

    def __init__(self, python: str = sys.executable) -> None:
        self._process = subprocess.Popen(
            [python, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **fields: Any) -> dict[str, float]:
        """Send one command and return its result; a worker's error is raised here."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the worker was started without pipes")
        stdin.write(json.dumps({"do": do, **fields}) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"the worker ended with exit status {code} during {do}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the worker failed in {do}:\n{answer['error']}")
        result: dict[str, float] = answer["result"]
        return result

    def open(self, setting: Setting) -> float:
        """Open a setting's files; return the seconds it took."""
        return self.ask("open", **asdict(setting))["seconds"]

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self.close()


class WorkerPool:
    """Workers by library, each started when first needed."""

    def __init__(self, annbatch_python: str | None) -> None:
        self._pythons = {"annbatch": annbatch_python or ""}
        self._workers: dict[str, WorkerProcess] = {}

    def has(self, library: str) -> bool:
        """Return whether `library` can be run."""
        return bool(self._pythons.get(library, sys.executable))

    def fresh(self, library: str) -> WorkerProcess:
        """Return a new process for `library`, not kept by the pool."""
        return WorkerProcess(self._pythons.get(library, sys.executable))

    def __getitem__(self, library: str) -> WorkerProcess:
        """Return the running worker of `library`."""
        if library not in self._workers:
            self._workers[library] = self.fresh(library)
        return self._workers[library]

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()
