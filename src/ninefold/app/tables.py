"""The verbs that list: models, recipes, papers, and what is wrong in a data set; and `convert`."""

import inspect
import json
import math
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from ninefold.app import printing
from ninefold.core.errors import Refused, nearest
from ninefold.core.options import read_options
from ninefold.engine.config import Run
from ninefold.models.augreg import ADDRESS, FileName, choose, preset_name, read_index, select
from ninefold.models.presets import PRESETS, Preset, preset_of


def models(given: Namespace) -> int:
    """One line a preset, or all of one that is named in full.

    Published accuracy is the authors' own, or what `models NAME` says; not measured here.
    """
    if given.augreg:
        return _augreg(given)
    if given.where:
        raise Refused("--where: filters AugReg's files; --augreg INDEX names their index.csv")
    if given.pattern.startswith("timm/"):
        guest = preset_of(given.pattern)
        print(printing.table(("what", "is"), _sheet(given.pattern, guest)))
        return 0
    names = _chosen(given.pattern, sorted(PRESETS), "model")
    if names == [given.pattern]:
        print(printing.table(("what", "is"), _sheet(given.pattern, PRESETS[given.pattern])))
        return 0
    rows = [(name, *_preset(PRESETS[name])) for name in names]
    columns = "model parameters GMACs pixels status published weights licence paper"
    print(printing.table(columns.split(), rows))
    return 0


def _augreg(given: Namespace) -> int:
    """AugReg's file for each model by the paper's rule; the fine-tuned one where data are named.

    Upstream figures are of validation; the test figure is told and decides nothing.
    """
    filters = {"upstream": "i21k", **read_options(given.where or (), "--where")}
    tuned = bool({"data", "image_size", "steps", "tuned_lr"} & set(filters))
    if tuned:  # validation of one data set says nothing about another's
        filters = {"data": "imagenet2012", **filters}
    rows = choose(select(read_index(given.augreg), model=given.pattern, **filters))
    header = ["model", "upstream", "augment", "decay", "drop", "upstream val", "images/s V100"]
    header += ["fine-tuned on", "pixels", "val", "test"] if tuned else []
    lines: list[list[str]] = []
    for row in rows:
        speed = "-" if math.isnan(row.images_per_second) else f"{row.images_per_second:.0f}"
        preset = row.preset if tuned else row.preset.removesuffix("_384")
        line = [preset, row.upstream, row.augment, f"{row.weight_decay}", f"{row.dropout}"]
        line += [printing.metric("val", row.final_val), speed]
        if tuned:
            line += [row.data, str(row.image_size), printing.metric("val", row.tuned_val)]
            line += [printing.metric("test", row.tuned_test)]
        lines.append([*line, ADDRESS + (row.tuned_file if tuned else row.file)])
    print(printing.table([*header, "file"], lines))
    return 0


def _sheet(name: str, preset: Preset) -> list[tuple[str, str]]:
    images, held = preset.preprocess, preset.num_classes
    crop = "the whole image, squashed" if images.squash else f"the middle {images.crop_fraction}"
    opened = "yes" if preset.weights_opened else "no; its layout is tested with random weights"
    elsewhere = bool(preset.authors_file) and not preset.weights
    facts = {
        "model": name,
        "family": preset.family,
        "options": ", ".join(f"{key} {value}" for key, value in preset.options.items()),
        "status": preset.status,
        "paper": preset.paper,
        "parameters": f"{preset.parameters:,}" if preset.parameters else "",
        "multiply-adds": f"{preset.gmacs:.4g} G an image" if preset.gmacs else "",
        "image": f"{images.image_size} pixels, {crop}; mean {images.mean}, std {images.std}",
        "classes": str(held),
        "drop path": str(preset.drop_path),
        "published weights": preset.weights or ("not on the hub" if elsewhere else "none"),
        "the authors' file": preset.authors_file,
    }
    if preset.weights or elsewhere:
        top1 = f"{100 * preset.accuracy:.1f} % on ImageNet-1k, {preset.accuracy_from}"
        facts |= {
            "layout": _layout(preset),
            "licence": preset.licence,
            "published top1": top1 if preset.accuracy else "",
            "real file opened": "" if preset.status == "guest" else opened,
        }
    return [(what, text) for what, text in facts.items() if text]


def _layout(preset: Preset) -> str:
    """Whose keys the file has: at the hub timm's, whose plain ResNets have torchvision's."""
    if not preset.weights:
        return "official"
    plain = preset.family == "resnet" and preset.options.get("norm", "batch") == "batch"
    return "torchvision" if plain else "timm"


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
    done = rewrite(source, given.out or None, to=given.to, model=given.model)
    several = f"{' or '.join(done.candidates)}, by its shapes; --model NAME says which"
    unknown = "no preset has these shapes; --model timm/NAME names one of timm's"
    facts = {
        "file": f"{source}, {done.bytes:,} bytes",
        "sha256": done.sha256,
        "layout": f"{done.layout}, of {done.family}",
        "model": done.preset or (several if done.candidates else unknown),
        "trained": _trained(source, done.preset),
        "options": json.dumps(done.options),
        "holds": f"{len(done.tensors)} tensors, {done.parameters:,} parameters",
        "left out": ", ".join(done.skipped[:6]) + (", ..." if len(done.skipped) > 6 else ""),
        "class names": str(done.classes or "none"),
        "written": f"{given.out}, as {given.to}" if given.out else "",
    }
    print(printing.table(("what", "is"), [(k, v) for k, v in facts.items() if v]))
    return 0


def _trained(source: str, preset: str) -> str:
    """What the name of one of AugReg's files says; nothing of others."""
    try:
        name = FileName.parse(source)
    except Refused:
        return ""
    size = name.tuned.image_size if name.tuned else 224
    known = preset_name(name.model, size)
    told = (f"its name says {known}, {name.upstream} for {name.epochs} epochs, augment "
            f"{name.augment}, weight decay {name.weight_decay}, dropout {name.dropout}, drop path "
            f"{name.drop_path}")  # fmt: skip
    if name.tuned:
        told += f"; then {name.tuned.data}, learning rate {name.tuned.lr}, {size} pixels"
    return told + ("; the shapes are another model's" if preset and preset != known else "")


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
