"""What the ten papers claim, as records: `claims/*.yaml`, one file a paper.

A claim says of two things which is the better one, by which measure and how large a difference
would deserve the name; beside it stand the paper's own figures, each with where it was read.
"""

from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from ninefold.core.config import Config
from ninefold.core.errors import Refused, nearest

FOLDER = Path(__file__).parent / "claims"


class PaperFigure(Config):
    """Two numbers of a paper that a claim rests on."""

    setting: str
    """Model, data and measure, as far as they matter."""
    value: float
    """What the claim's subject reaches, as printed."""
    against: float
    """What it is compared with, as printed."""
    unit: Literal["%", "hours", "ms", "images/s", ""] = "%"
    """Of both; accuracies, APs and mIoUs are percentages."""
    source: Literal["deck", "repository", "recalled"]
    """`deck`: printed in the survey deck; `repository`: told by the authors' code or its README;
    `recalled`: known of the paper, but not read again here."""
    corrected: str = ""
    """What the deck's extraction has instead, and why that is wrong; nothing where it is right."""


class Claim(Config):
    """One claim of one paper."""

    id: str
    """`paper/name`."""
    statement: str
    """The claim in our words, as one sentence."""
    subject: str
    """What is claimed to be better (or faster, flatter), in a word or two."""
    against: str
    """What it is compared with."""
    metric: str
    """As in `results.jsonl`, or named for what it is."""
    direction: Literal["higher", "lower", "equal"] = "higher"
    """Where the paper says the subject's metric lies; `equal`: within `smallest` to either side."""
    effect: Literal["difference", "relative"] = "difference"
    """`difference`: subject minus the other, of metrics that count from 0 to 1; `relative`: that
    divided by the other."""
    smallest: PositiveFloat
    """The smallest effect, in the claim's direction, that is worth the name."""
    where: str
    """Table, figure or section of the paper; `ours` where the paper does not claim it."""
    figures: tuple[PaperFigure, ...] = ()
    """The paper's own; the first one is the one that measurements stand beside."""
    experiment: str = ""
    """Name of the experiment in `ninefold.study.experiments` that measures it; nothing so far."""
    note: str = ""
    """What a reader must know: another network, other hardware, a doubt."""

    def effect_of(self, value: float, against: float) -> float:
        """The effect of one pair of values: positive where it goes in the claim's direction."""
        change = value - against
        if self.effect == "relative":
            change /= against
        return -change if self.direction == "lower" else change

    def paper_effect(self) -> float | None:
        """The effect in the paper's first figure, in the unit of `smallest`; None without one."""
        if not self.figures:
            return None
        first = self.figures[0]
        percent = first.unit == "%" and self.effect == "difference"
        return self.effect_of(first.value, first.against) / (100 if percent else 1)


class Paper(Config):
    """A paper with its claims."""

    name: str
    """Short name: the file's, and the first half of its claims' ids."""
    title: str
    """As printed."""
    authors: str
    """First author and others."""
    arxiv: str = Field(pattern=r"^\d{4}\.\d{5}$")
    """Number on arXiv."""
    note: str = ""
    """What a reader of the deck or of the released code must know."""
    claims: tuple[Claim, ...] = Field(min_length=1)
    """In the paper's order of weight."""

    @model_validator(mode="after")
    def _ids(self) -> Self:
        names = [claim.id for claim in self.claims]
        wrong = [name for name in names if not name.startswith(f"{self.name}/")]
        if wrong or len(set(names)) < len(names):
            raise ValueError(f"claim ids must be unique and begin with '{self.name}/': {names}")
        return self


@cache
def papers() -> dict[str, Paper]:
    """All papers by name, in alphabetical order."""
    found = [Paper.read(path) for path in sorted(FOLDER.glob("*.yaml"))]
    return {paper.name: paper for paper in found}


def paper_named(name: str) -> Paper:
    """The paper of that short name.

    Raises:
        Refused: there is none; names the nearest and lists all.
    """
    known = papers()
    if name not in known:
        hint = nearest(name, known) or ";"
        raise Refused(f"no paper is called {name!r}{hint} there are {', '.join(known)}")
    return known[name]


def claim_named(claim_id: str) -> Claim:
    """The claim of that id.

    Raises:
        Refused: there is none; names the nearest.
    """
    known = {claim.id: claim for paper in papers().values() for claim in paper.claims}
    if claim_id not in known:
        hint = nearest(claim_id, known) or "; `ninefold papers` lists them"
        raise Refused(f"no claim is called {claim_id!r}{hint}")
    return known[claim_id]
