"""`ninefold train`: from flags to a run, to its folder, to a word on what came out."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from ninefold.app import printing
from ninefold.app.flags import change
from ninefold.app.progress import Progress
from ninefold.core.errors import Refused
from ninefold.core.results import Result, append_line
from ninefold.engine.config import Run
from ninefold.engine.folder import new_folder
from ninefold.recipes import find_recipe
from ninefold.recipes.parts import finish
from ninefold.report.statistics import summarise

NOT_OF_THE_RUN = ("recipe", "fields", "out", "resume", "seeds")


def train(given: Namespace) -> int:
    """Train once, or once a seed."""
    if given.resume and not given.out:
        raise Refused("--resume needs --out FOLDER, the run to go on with")
    if given.seeds is not None and given.seeds < 1:
        raise Refused(f"--seeds {given.seeds}: one at the least")
    run = choose_run(given)
    if given.seeds is None:
        _report(_train(run, given.out, resume=given.resume))
        return 0
    out = Path(given.out) if given.out else new_folder()
    results = [
        _train(run.changed(seed=seed), out / f"seed_{seed}", resume=given.resume).results
        for seed in range(run.seed, run.seed + given.seeds)
    ]
    _report_seeds(out, results)
    return 0


def choose_run(given: Namespace) -> Run:
    """The run that a command line asks for.

    A recipe is told the flags that it computes with; all other flags change its finished run. With
    `--resume` and no recipe, the run that the folder records is the one to go on with.
    """
    values: dict[str, Any] = {
        name: value
        for name, value in vars(given).items()
        if name not in NOT_OF_THE_RUN and value is not None
    }
    recorded = Path(given.out) / "run.yaml"
    if given.recipe.endswith((".yaml", ".yml")):
        run = finish(Run.read(given.recipe), values)
    elif given.resume and not given.recipe and recorded.exists():
        run = finish(Run.read(recorded), values)
    else:
        run = find_recipe(given.recipe or "quickstart")(**values)
    return change(run, given.fields)


def _train(run: Run, out: str | Path, *, resume: bool) -> Progress:
    from ninefold.engine.train import train as train_run  # torch, once the run is known to be sound

    with Progress() as progress:
        train_run(run, out=out, resume=resume, observers=(progress,))
    return progress


def _report(done: Progress) -> None:
    """The last figures, and which files to open."""
    out = done.folder
    for result in done.results:
        print(f"{result.split}: {printing.metrics(result.metrics)}")
    files = [*sorted((out / "figures").glob("*.png")), out / "model.safetensors"]
    print("to open:", *(f"  {file}" for file in files if file.exists()), sep="\n")
    print(f"to use:\n  ninefold predict {out} FILE...")


def _report_seeds(out: Path, runs: list[list[Result]]) -> None:
    """Mean, spread and interval of each metric, a line a split; kept in the folder's results."""
    for split in dict.fromkeys(result.split for results in runs for result in results):
        found = [result for results in runs for result in results if result.split == split]
        line: dict[str, Any] = {"split": split, "seeds": len(found)}
        for name in found[0].metrics:
            summary = summarise([result.metrics[name] for result in found])
            line |= {name: summary.mean, f"{name}_spread": summary.spread}
            line |= {f"{name}_low": summary.low, f"{name}_high": summary.high}
            told = [printing.metric(name, v) for v in (summary.mean, summary.spread)]
            ends = [printing.metric(name, v) for v in (summary.low, summary.high)]
            interval = f", 95 % interval {ends[0]} to {ends[1]}" if len(found) > 1 else ""
            print(f"{split}: {name} {told[0]}, spread {told[1]}{interval}, {len(found)} seeds")
        append_line(out / "results.jsonl", line)
    sys.stdout.flush()
