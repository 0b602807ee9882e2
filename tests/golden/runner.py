"""The check of a folder of golden files.

A line a file: name, kind, largest absolute error, tolerance (absolute, to which a share of the
reference's value is added), and

* `ok`;
* `FAIL`, with the reason: beyond the tolerance, another shape, not a number, an error, an output of
  the file that the check left out, or nothing compared at all;
* `not built yet`: a kind that the specifications describe and whose object is not there so far.
  Counted apart; it fails nothing, but a folder of which nothing at all was checked fails;
* `unknown`: no kind, or one that nobody has heard of. It fails.

JSON files that describe a safetensors file beside them belong to it and have no line. Exit codes: 0
all that was checked is right; 1 a file failed or is unknown, or none was checked; 2 no such folder.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .files import PASSED_OVER, Golden, read
from .kinds import LATER, OWED, Kind


@dataclass(frozen=True)
class Line:
    """What became of one file; `error` is the largest absolute one, NaN where there is none."""

    golden: Golden
    verdict: str
    error: float = float("nan")
    tolerance: str = ""
    reason: str = ""

    def __str__(self) -> str:
        error = "" if self.error != self.error else f"{self.error:.1e}"
        start = f"{self.golden.path.name:44} {self.golden.kind or '-':28} {error:8}"
        return f"{start} {self.tolerance:16} {self.verdict}{self.reason and ': ' + self.reason}"


def main(arguments: list[str]) -> int:
    """Check the folder named by the one argument and print a line a file, then a total."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        given = " ".join(arguments) or "nothing"
        print(f"tests.golden: {given} is no folder; python -m tests.golden FOLDER", file=sys.stderr)
        return 2
    count: Counter[str] = Counter()
    for path in sorted(Path(arguments[0]).iterdir()):
        golden = read(path) if path.is_file() and path.suffix not in PASSED_OVER else None
        if golden is not None:
            line = check(golden)
            print(line, flush=True)
            count[line.verdict] += 1
    checked = count["ok"] + count["FAIL"]
    print(
        f"{checked} checked: {count['ok']} ok, {count['FAIL']} FAIL; "
        f"{count['not built yet']} not built yet, {count['unknown']} unknown"
    )
    return 1 if count["FAIL"] or count["unknown"] or not checked else 0


def check(golden: Golden) -> Line:
    """Check one file by its kind."""
    if golden.kind in LATER:
        return Line(golden, "not built yet")
    if golden.kind not in OWED:
        return Line(golden, "unknown", reason="no check is known for its kind")
    kind = OWED[golden.kind]
    try:
        atol = golden.tolerance(kind.atol)
        tolerance = f"{atol:.0e} + {kind.rtol:.0e}x" if kind.rtol else f"{atol:.0e}"
        with torch.inference_mode():
            pairs = kind.check(golden)
    except Exception as error:  # whatever a check meets, the other files still get theirs
        reason = " ".join(str(error).split())
        return Line(golden, "FAIL", reason=f"{type(error).__name__}: {reason}")
    faults = [f"{name} is not compared" for name in golden.tensors if _left_out(name, pairs)]
    if not sum(expected.numel() for _, expected in pairs.values()):
        faults.append("nothing is compared")
    worst = 0.0
    for name, (actual, expected) in pairs.items():
        error, fault = _compare(actual, expected, atol, kind)
        worst = max(worst, error)
        faults += [f"{name} {fault}"] if fault else []
    verdict = "FAIL" if faults else "ok"
    return Line(golden, verdict, worst, tolerance, "; ".join(faults[:4]))


def _left_out(name: str, pairs: dict[str, tuple[Tensor, Tensor]]) -> bool:
    return name.split("/")[0] == "output" and name not in pairs


def _compare(actual: Tensor, expected: Tensor, atol: float, kind: Kind) -> tuple[float, str]:
    """Largest absolute error and, where it is too large, why; NaN never passes."""
    if actual.shape != expected.shape:
        return float("inf"), f"is {tuple(actual.shape)}, not {tuple(expected.shape)}"
    a, b = actual.double(), expected.double()
    error = (a - b).abs()
    largest = float(error.nan_to_num(nan=float("inf")).max()) if error.numel() else 0.0
    beyond = ~(error <= atol + kind.rtol * b.abs())
    return largest, f"differs in {int(beyond.sum())} of {error.numel()}" if beyond.any() else ""
