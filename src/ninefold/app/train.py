"""`ninefold train`: from flags to a run, to its folder, to a word on what came out."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from ninefold.app import printing
from ninefold.app.flags import change
from ninefold.app.progress import Progress
from ninefold.core.errors import Refused
from ninefold.engine.config import Run
from ninefold.engine.folder import FIGURES, MODEL, RUN, claim
from ninefold.recipes import find_recipe
from ninefold.recipes.parts import finish

NOT_OF_THE_RUN = ("recipe", "fields", "out", "resume", "seeds", "find_lr", "device")


def train(given: Namespace) -> int:
    """Train once, or once a seed."""
    if given.resume and not given.out:
        raise Refused("--resume needs --out FOLDER, the run to go on with")
    if given.seeds is not None and given.seeds < 1:
        raise Refused(f"--seeds {given.seeds}: one at the least")
    if given.find_lr and (given.resume or given.seeds is not None):
        raise Refused("--find-lr goes with neither --resume nor --seeds; it trains nothing")
    run = choose_run(given)
    if given.find_lr:
        return _find_rate(run, given)
    return _train(run, given) if given.seeds is None else _train_seeds(run, given)


def choose_run(given: Namespace) -> Run:
    """The run that a command line asks for.

    A recipe is told the flags that it computes with; all other flags change its finished run. With
    `--resume` and no recipe, the run that the folder records is the one to go on with; of several
    seeds the first one's.
    """
    values: dict[str, Any] = {
        name: value
        for name, value in vars(given).items()
        if name not in NOT_OF_THE_RUN and value is not None
    }
    recorded = Path(given.out) / RUN
    several = _seeds_in(given.out)
    if several and given.seeds is None:
        raise Refused(
            f"{given.out}: holds runs of several seeds; go on with them by --seeds N --resume, or "
            "choose another --out"
        )
    if given.recipe and (Path(given.recipe) / RUN).is_file():
        raise Refused(
            f"{given.recipe}: is a run's folder; name its {RUN} to repeat it, or --out "
            f"{given.recipe} --resume to go on with it"
        )
    if given.recipe.endswith((".yaml", ".yml")):
        run = finish(Run.read(given.recipe), values)
    elif given.resume and not given.recipe and recorded.exists():
        run = finish(Run.read(recorded), values)
    elif given.resume and not given.recipe and several:
        run = finish(Run.read(several[0]), values)
    else:
        run = find_recipe(given.recipe or "quickstart")(**values)
    return change(run, given.fields)


def _train(run: Run, given: Namespace) -> int:
    """Train; then the last figures, and which files to open."""
    from ninefold.engine.train import train  # torch, once the run is known to be sound

    with Progress() as progress:
        train(run, out=given.out, resume=given.resume, device=given.device, observers=(progress,))
    if not _speaks():
        return 0
    for result in progress.results:
        metrics = printing.telling(result.metrics, progress.classes)
        print(f"{result.split}: {printing.metrics(metrics)}")
    folder = progress.folder
    files = [*sorted((folder / FIGURES).glob("*.png")), folder / MODEL]
    print("to open:", *(f"  {file}" for file in files if file.exists()), sep="\n")
    print(f"to use:\n  ninefold predict {folder} FILE...")
    return 0


def _find_rate(run: Run, given: Namespace) -> int:
    """Look for a learning rate; the flag that uses it."""
    from ninefold.engine.find_rate import RATES, find_rate

    rate, folder = find_rate(run, out=given.out, device=given.device)
    print(f"suggested: --optim.lr {rate:.2g} (a tenth of the rate with the least loss)")
    print("to open:", f"  {folder / FIGURES / 'lr_finder.png'}", f"  {folder / RATES}", sep="\n")
    return 0


def _train_seeds(run: Run, given: Namespace) -> int:
    """Train once a seed; then mean, spread and interval of every metric."""
    from ninefold.engine.seeds import train_seeds

    out: str = given.out
    if out and (Path(out) / RUN).exists():
        raise Refused(f"{out}: holds one run, not several seeds; choose another --out")
    if _seeds_in(out) and not given.resume:
        raise Refused(f"{out}: holds runs already; go on by --resume, or choose another --out")
    if not out and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise Refused("--seeds under torchrun needs --out FOLDER, the same for all processes")
    folder = claim(out)
    if _speaks():
        print(folder, flush=True)
    with Progress() as progress:
        seeds = range(run.seed, run.seed + given.seeds)
        summary = train_seeds(run, seeds, folder, device=given.device, observers=(progress,))
    if not _speaks():
        return 0
    for split, metrics in summary.items():
        told = printing.telling(metrics, progress.classes)
        rows = [(name, *_summed(name, metrics[name])) for name in told]
        print(printing.table((split, "mean", "spread", "95 % interval", "seeds"), rows))
    return 0


def _seeds_in(out: str) -> list[Path]:
    """The records of the runs of several seeds in a folder, the first seed's first."""
    found = Path(out).glob(f"seed_*/{RUN}") if out else ()
    return sorted(found, key=lambda path: Run.read(path).seed)


def _speaks() -> bool:
    """Under torchrun the first process speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _summed(name: str, told: dict[str, Any]) -> tuple[str, str, str, str]:
    ends = {"low": told["low"], "high": told["high"]}
    if name not in printing.SHARES:  # no share lies outside, whatever t says of a few seeds
        ends = {end: min(max(value, 0.0), 1.0) for end, value in ends.items()}
    mean, spread, low, high = (
        printing.metric(name, v) for v in (told["mean"], told["spread"], *ends.values())
    )
    seeds = len(told["values"])
    return mean, spread, f"{low} to {high}" if seeds > 1 else "-", str(seeds)
