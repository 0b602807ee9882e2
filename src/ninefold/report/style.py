"""What all figures share: look, colours, and text that any font and any length survives.

Figures are drawn through matplotlib's objects on the Agg canvas: no window, no pyplot, and settings
hold for one drawing only. Widths are 8 inches at 100 dots an inch, so 800 pixels.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.textpath import TextToPath

from ninefold.core.errors import printable

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

P = ParamSpec("P")

# Okabe and Ito's colours: told apart with any kind of colour blindness.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"

DOTS = 100
"""Pixels an inch."""

MISSING = "\u25a1"
"""An empty square, for letters that no font at hand has."""

_ASIAN = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei")


@functools.cache
def _fonts() -> tuple[list[str], frozenset[int]]:
    """Families to draw with, and the letters that they have together."""
    there = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist}
    names = ["DejaVu Sans", *[name for name in _ASIAN if name in there][:1]]
    letters = (FT2Font(there[name]).get_charmap() for name in names)
    return names, frozenset().union(*letters)


def font_file() -> str:
    """The file of the font that has the most letters of those at hand."""
    return font_manager.findfont(_fonts()[0][-1])


def text(value: object, limit: int = 0) -> str:
    """One printable line of at most `limit` letters (0: any), shortened in its middle.

    Letters without a glyph become an empty square, line breaks and controls a space, so that
    drawing never warns; where nothing readable is left, numbers must tell classes apart.
    """
    _, letters = _fonts()
    joined = " ".join(str(value).split())
    plain = "".join(c if ord(c) in letters and c.isprintable() else MISSING for c in joined)
    if not limit or len(plain) <= limit:
        return plain
    head = (limit - 1) * 2 // 3
    return f"{plain[:head]}\u2026{plain[len(plain) - (limit - 1 - head) :]}"


def fitted(value: object, pixels: float, size: float) -> str:
    """`text` of the value, shortened until it is at most so wide at that size in points."""
    words = text(value)
    font = font_manager.FontProperties(family=_fonts()[0], size=size)
    for limit in range(len(words), 0, -1):
        short = text(words, limit)
        if TextToPath().get_text_width_height_descent(short, font, False)[0] * DOTS / 72 <= pixels:
            return short
    return ""


def class_names(classes: Sequence[str], limit: int) -> list[str]:
    """Short names of all classes, made different by their number where two look alike."""
    lost = set(unreadable(classes))
    short = [f"class {i}" if name in lost else text(name, limit) or "''"
             for i, name in enumerate(classes)]  # fmt: skip
    return [
        f"{i}: {name}" if short.count(name) > 1 or MISSING in name else name
        for i, name in enumerate(short)
    ]


def unreadable(classes: Sequence[str]) -> list[str]:
    """The names of which no font at hand has even half of the letters."""
    return [name for name in classes if 2 * text(name).count(MISSING) > len(text(name))]


def without_font(classes: Sequence[str]) -> str:
    """A sentence on the names that cannot be read in pictures; nothing where all can."""
    lost = unreadable(classes)
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    names = ", ".join(printable(name) for name in lost[:3])
    return f"no font here has the letters of the classes {names}{more}" if lost else ""


def styled(draw: Callable[P, None]) -> Callable[P, None]:
    """Run a drawing function under the common settings, and restore the caller's after it."""
    settings: dict[RcKeyType, Any] = {
        "font.family": _fonts()[0],
        "font.size": 10,
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.grid": False,
        "grid.color": "#dddddd",
        "legend.frameon": False,
        "savefig.dpi": DOTS,
    }

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(settings)
            draw(*args, **kwargs)

    return drawn


def canvas(height: float) -> Figure:
    """An empty figure of that size in inches, laid out by its own contents."""
    figure = Figure(figsize=(8.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write the PNG; its folder is made where it is missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def empty(axes: Axes, words: str) -> None:
    """A panel that says why it shows nothing."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text(words), ha="center", va="center", color=GREY)
