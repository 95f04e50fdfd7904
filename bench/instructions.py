"""Instructions of the hot loops, counted by callgrind: the same on a busy machine and on a quiet one.

`python -m bench.instructions` beside it is the counted process. A loop's figure is the difference of a long and a short
run, divided by the difference of their turns, so that what is paid once does not count.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

BUDGET = Path(__file__).with_name("instructions.json")
# Turns of the short and of the long run.
SHORT, LONG = 4, 12


class UncountableError(RuntimeError):
    """There is no valgrind or no compiler here; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A loop's instructions a turn against its budget."""

    loop: str
    instructions: int
    budget: int | None
    slack: float

    @property
    def kept(self) -> bool:
        """False for a loop beyond its budget, or without one."""
        return self.budget is not None and self.instructions <= self.budget * (1 + self.slack)


def count() -> dict[str, int]:
    """Return instructions a turn by loop.

    Raises:
        UncountableError: valgrind, its headers or a compiler is missing.
        subprocess.CalledProcessError: the counted process failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = _library(folder)
        command = [
            "valgrind",
            "-q",
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={folder}/out",
        ]
        environment = {
            **os.environ,
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            # Intel's library inside OpenCV takes another way on each make of processor.
            "OPENCV_IPP": "disabled",
        }
        subprocess.run(
            [*command, sys.executable, "-m", "bench.instructions", str(library)],
            check=True,
            env=environment,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
        )
        return _read(folder)


def judged(counted: dict[str, int], budget: Path = BUDGET) -> list[Verdict]:
    """Compare with the budget file; a loop that it does not know is beyond its budget.

    Raises:
        UncountableError: the budget was counted on another kind of processor or Python, which run other instructions.
    """
    told = json.loads(budget.read_text())
    if told["counted_on"] != machine():
        raise UncountableError(
            f"the budget was counted on {told['counted_on']}, this is {machine()}; make one here with --write"
        )
    return [Verdict(name, n, told["loops"].get(name), told["slack"]) for name, n in counted.items()]


def write(counted: dict[str, int], slack: float, budget: Path = BUDGET) -> None:
    """Make these counts the budget."""
    told = {"counted_on": machine(), "slack": slack, "loops": counted}
    budget.write_text(json.dumps(told, indent=1) + "\n")


def machine() -> str:
    """Return what chooses the instructions: architecture, maker, vector width that valgrind knows, Python."""
    maker, wide = "", ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        found = re.search(r"^vendor_id\s*:\s*(\S+)", text, re.MULTILINE)
        maker, wide = found.group(1) if found else "", "avx2" if re.search(r"\bavx2\b", text) else ""
    parts = (platform.machine(), maker, wide, f"Python {sys.version_info.major}.{sys.version_info.minor}")
    return " ".join(p for p in parts if p)


def _library(folder: Path) -> Path:
    missing = [name for name in ("valgrind", "cc") if shutil.which(name) is None]
    if missing:
        raise UncountableError(
            f"{', '.join(missing)} is missing; install: apt-get install valgrind gcc libc6-dev"
        )
    library = folder / "counting.so"
    source = Path(__file__).with_suffix(".c")
    built = subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise UncountableError(f"{source.name} cannot be built: {built.stderr.strip()[:300]}")
    return library


def _read(folder: Path) -> dict[str, int]:
    totals: dict[str, int] = {}
    for file in folder.glob("out*"):
        text = file.read_text("utf-8", "replace")
        name = re.search(r"^desc: Trigger: Client Request: (\S+)$", text, re.MULTILINE)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if name and total:
            totals[name.group(1)] = int(total.group(1))
    loops = [name.removesuffix(":long") for name in totals if name.endswith(":long")]
    return {n: (totals[f"{n}:long"] - totals[f"{n}:short"]) // (LONG - SHORT) for n in sorted(loops)}


def main() -> None:
    """Run every loop under callgrind; the first argument is the library that speaks to it."""
    import cv2

    from bench.instructions_loops import LOOPS

    cv2.setNumThreads(1)
    counting = ctypes.CDLL(sys.argv[1])
    if not counting.counted():
        raise SystemExit("not under valgrind")
    for name, make in LOOPS.items():
        turn = make()
        # Caches, first-time imports and the memory of dictionaries: paid here.
        turn(SHORT)
        gc.collect()
        gc.disable()
        counting.counting_starts()
        for what, turns in (("short", SHORT), ("long", LONG)):
            counting.count_from_here()
            turn(turns)
            counting.write_count(f"{name}:{what}".encode())
        counting.counting_stops()
        gc.enable()


if __name__ == "__main__":
    main()
