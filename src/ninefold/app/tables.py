"""The verbs that list: models, recipes, papers, and what is wrong in a data set; and `convert`."""

import inspect
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from ninefold.app import printing
from ninefold.core.errors import Refused, nearest
from ninefold.engine.config import Run
from ninefold.models.presets import PRESETS, Preset


def models(given: Namespace) -> int:
    """One line a preset, or all of one that is named in full.

    Published accuracy is the authors' own; nobody measured it here.
    """
    names = _chosen(given.pattern, sorted(PRESETS), "model")
    if names == [given.pattern]:
        print(printing.table(("what", "is"), _sheet(given.pattern, PRESETS[given.pattern])))
        return 0
    rows = [(name, *_preset(PRESETS[name])) for name in names]
    columns = "model parameters GMACs pixels status published weights licence paper"
    print(printing.table(columns.split(), rows))
    return 0


def _sheet(name: str, preset: Preset) -> list[tuple[str, str]]:
    images, held = preset.preprocess, preset.num_classes
    crop = "the whole image, squashed" if images.squash else f"the middle {images.crop_fraction}"
    opened = "yes" if preset.weights_opened else "no; its layout is tested with random weights"
    facts = {
        "model": name,
        "family": preset.family,
        "options": ", ".join(f"{key} {value}" for key, value in preset.options.items()),
        "status": preset.status,
        "paper": preset.paper,
        "parameters": f"{preset.parameters:,}",
        "multiply-adds": f"{preset.gmacs:.4g} G an image",
        "image": f"{images.image_size} pixels, {crop}; mean {images.mean}, std {images.std}",
        "classes": str(held),
        "drop path": str(preset.drop_path),
        "published weights": preset.weights or "none",
    }
    if preset.weights:
        facts |= {
            "licence": preset.licence,
            "published top1": f"{100 * preset.accuracy:.1f} % on ImageNet-1k, the authors' figure",
            "real file opened": opened,
        }
    return list(facts.items())


def _preset(preset: Preset) -> tuple[str, ...]:
    opened = "opened here" if preset.weights_opened else "layout tested"
    return (
        printing.short(preset.parameters),
        f"{preset.gmacs:.3g}",
        str(preset.preprocess.image_size),
        preset.status,
        f"{100 * preset.accuracy:.1f} %" if preset.accuracy else "-",
        opened if preset.weights else "-",
        preset.licence or "-",
        preset.paper,
    )


def recipes(given: Namespace) -> int:
    """One line a recipe, or all of one that is named in full."""
    from ninefold.recipes import RECIPES, find_recipe

    names = _chosen(given.pattern, list(RECIPES), "recipe")
    if names == [given.pattern]:
        _recipe(find_recipe(given.pattern))
        return 0
    rows = [(name, (inspect.getdoc(find_recipe(name)) or "").split("\n")[0]) for name in names]
    print(printing.table(("recipe", "what it trains"), rows))
    return 0


def _recipe(recipe: Callable[..., Run]) -> None:
    """Its description, and every value of the run that it returns for its own model."""
    from ninefold.app.flags import values

    taken = inspect.signature(recipe).parameters
    needs = {"data": "FOLDER", "weights": "FILE"}
    given = {k: taken[k].default or word for k, word in needs.items() if k in taken}
    print(f"{inspect.getdoc(recipe)}\n")
    print(printing.table(("flag", "value"), values(recipe(**given))))


def papers(given: Namespace) -> int:
    """Each paper's claims beside what was measured here; of one, what each claim says."""
    from ninefold.report.measured import papers_table

    if given.name:
        _paper(given.name)
        return 0
    rows = [(r.claim, r.paper, r.measured, r.verdict) for r in papers_table()]
    print(printing.table(("claim", "the paper", "measured here", "verdict"), rows))
    return 0


def _paper(name: str) -> None:
    """A paper's claims, or one claim, a few lines each."""
    from ninefold.report.claims import claim_named, paper_named
    from ninefold.report.measured import papers_table

    claims = [claim_named(name)] if "/" in name else list(paper_named(name).claims)
    paper = paper_named(claims[0].id.partition("/")[0])
    rows = {row.claim: row for row in papers_table(paper.name)}
    print(f"{paper.title}\n{paper.authors}, arXiv {paper.arxiv}")
    for claim in claims:
        row = rows[claim.id]
        facts = {
            "where": claim.where,
            "the paper": row.paper,
            "measured here": "" if row.measured == "-" else row.measured,
            "worth the name": f"an effect of {100 * claim.smallest:g} "
            + ("points" if claim.effect == "difference" else "%")
            + f" on {claim.metric}",
            "to measure it": f"ninefold reproduce {claim.id}" if claim.experiment else "",
        }
        print(f"\n{claim.id}: {row.verdict}\n  {claim.statement}")
        print(*(f"  {what}: {said}" for what, said in facts.items() if said), sep="\n")


def check(given: Namespace) -> int:
    """What is wrong in a data set, a line a finding; 1 if there is more than notes."""
    from ninefold.data.check import check_data

    findings = check_data(given.path)
    if findings:
        rows = [(f.level, f.kind, f.file, f.message) for f in findings]
        print(printing.table(("level", "kind", "file", "what"), rows))
    count = Counter(f.level for f in findings)
    levels = ("error", "warning", "note")
    told = ", ".join(f"{count[k]} {k}{'' if count[k] == 1 else 's'}" for k in levels)
    print(f"{given.path}: {told}")
    return 1 if count["error"] or count["warning"] else 0


def convert(given: Namespace) -> int:
    """What a checkpoint is, a line a fact; and the file rewritten where that is asked."""
    from ninefold.engine.folder import MODEL
    from ninefold.models.convert import OURS
    from ninefold.models.convert import convert as rewrite

    if given.to != OURS and not given.out:
        raise Refused(f"--to {given.to}: says how OUT is written; name a file to write")
    folder = Path(given.source).is_dir()
    source = str(Path(given.source) / MODEL) if folder else given.source
    done = rewrite(source, given.out or None, to=given.to)
    facts = {
        "file": f"{source}, {done.bytes:,} bytes",
        "sha256": done.sha256,
        "layout": f"{done.layout}, of {done.family}",
        "model": done.preset or "no preset has exactly these shapes",
        "options": json.dumps(done.options),
        "holds": f"{len(done.tensors)} tensors, {done.parameters:,} parameters",
        "left out": ", ".join(done.skipped[:6]) + (", ..." if len(done.skipped) > 6 else ""),
        "class names": str(done.classes or "none"),
        "written": f"{given.out}, as {given.to}" if given.out else "",
    }
    print(printing.table(("what", "is"), [(k, v) for k, v in facts.items() if v]))
    return 0


def reproduce(given: Namespace) -> int:
    """Measure one claim; its verdict in every setting."""
    from ninefold.study.reproduce import reproduce as measure

    for found in measure(
        given.claim, scale=given.scale, out=given.out, seeds=given.seeds, data=given.data
    ):
        where = f"{found.claim}, {found.setting}" if found.setting else found.claim
        print(f"{where}: {found.verdict} (effect {found.effect:+.4f} on {found.metric})")
    return 0


def _chosen(pattern: str, names: list[str], kind: str) -> list[str]:
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        hint = nearest(pattern, names) or f"; `ninefold {kind}s` lists all {len(names)}"
        raise Refused(f"no {kind} matches {pattern!r}{hint}")
    return found
