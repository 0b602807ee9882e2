"""What is run for a claim: arms that are compared, by settings and seeds.

An arm gives one value a seed: that of a run, of the best of several runs, something else that
finished runs tell, or a reading of something that is measured in place of being trained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ninefold.core.errors import Refused
from ninefold.engine.config import Run
from ninefold.report.measured import Table


@dataclass(frozen=True)
class Trained:
    """A run; its value is the claim's metric on the test part.

    Args:
        run: The run; its seed is set later.
        start: A run, with the same seed, whose best weights this one starts from.
        picks: Whether each seed trains on other images: `pick=SEED` goes to the data's address.
    """

    run: Run
    start: "Trained | None" = None
    picks: bool = False

    def at(self, seed: int) -> Run:
        """The run with that seed; the weights of `start` are not in it."""
        data = f"{self.run.data}&pick={seed}" if self.picks else self.run.data
        return self.run.changed(seed=seed, data=data)


@dataclass(frozen=True)
class Best:
    """Of several runs, for each seed, the one with the best metric on the validation part.

    Args:
        candidates: Runs that differ in one thing.
        by: A field that tells them apart, as a path: `optim.lr`.
    """

    candidates: tuple[Trained, ...]
    by: str


@dataclass(frozen=True)
class Timed:
    """One reading of a function that measures several things side by side.

    Args:
        function: `package.module:Name` of a function of these options and `seed`, which gives
            readings by name. Each seed calls it in a process of its own.
        options: Plain values.
        reading: Which of its readings.
    """

    function: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    reading: str = ""


@dataclass(frozen=True)
class Read:
    """One reading of finished runs with the same seed: what they cost, or a difference of two.

    Args:
        function: `package.module:Name`, called with the runs' folders by name; it gives readings by
            name.
        runs: By name.
        reading: Which of its readings.
    """

    function: str
    runs: dict[str, Trained]
    reading: str


Arm = Trained | Best | Timed | Read


@dataclass(frozen=True)
class Comparison:
    """A pair of arms in one setting.

    Args:
        subject: The claim's subject.
        against: What it is compared with.
        setting: In words, what tells this pair from the others of its plan.
        tables: Of arms with readings: makes the tables that stand beside the result, from all
            readings of the subject's function, one mapping a seed.
    """

    subject: Arm
    against: Arm
    setting: str = ""
    tables: Callable[[Sequence[Mapping[str, float]]], tuple[Table, ...]] | None = None


@dataclass(frozen=True)
class Plan:
    """All that is run for a claim at one scale.

    Args:
        comparisons: One a setting.
        seeds: Values of each arm, from seed 0 on.
        data: What the arms see, named for what it is.
    """

    comparisons: tuple[Comparison, ...]
    seeds: int
    data: str


def cifar10(data: str) -> tuple[str, str]:
    """The address of CIFAR-10 that was given, and its name: a folder of JPEG files is not the same.

    Raises:
        Refused: none was.
    """
    if not data:
        raise Refused(
            "reproduce: this needs CIFAR-10; --data FOLDER names one with "
            "{train,test}/<class>/*.jpg, or --data 'torchvision://CIFAR10?root=FOLDER'"
        )
    jpeg = "://" not in data and any(Path(data.partition("?")[0]).glob("train/*/*.jpg"))
    return data, f"CIFAR-10 ({'JPEG, ' * jpeg}`{data}`)"


def described(arm: Arm) -> dict[str, Any]:
    """An arm as plain values, without its seed."""
    if isinstance(arm, Timed):
        return {"measured": arm.function, **arm.options, "reading": arm.reading}
    if isinstance(arm, Read):
        runs = {name: described(run) for name, run in arm.runs.items()}
        return {"read": arm.function, "runs": runs, "reading": arm.reading}
    if isinstance(arm, Best):
        tried = [value_at(one.run, arm.by) for one in arm.candidates]
        return {**described(arm.candidates[0]), "chosen on validation": {arm.by: tried}}
    told = arm.run.model_dump(mode="json", exclude={"seed"})
    if arm.start is not None:
        told["weights"] = {"of the run": described(arm.start)}
    return told


def value_at(run: Run, path: str) -> Any:
    """The value of a field by its path."""
    value: Any = run
    for name in path.split("."):
        value = getattr(value, name)
    return value
