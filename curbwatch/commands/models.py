"""`curbwatch models`: judge, verify, fetch, convert and shrink model bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from models.bundle import Bundle, BundleError, load_bundle
from models.session import RUNTIMES

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PROVIDER = click.option(
    "--provider", type=click.Choice(["auto", *RUNTIMES]), default="auto", show_default=True
)


@click.group("models")
def cli() -> None:
    """Judge, verify, fetch, convert and shrink model bundles."""


def _bundle(name: str) -> Bundle:
    try:
        return load_bundle(name)
    except BundleError as exc:
        raise click.ClickException(str(exc)) from None


def _ticker(count: int, quiet: bool, what: str) -> tuple[Any, Callable[[], None]]:
    if quiet:
        return nullcontext(), lambda: None
    progress = Progress(console=Console(stderr=True))
    task = progress.add_task(what, total=count)
    return progress, lambda: progress.advance(task)


@cli.command("evaluate")
@click.argument("bundle")
@click.argument("data", type=_FILE)
@click.option("--split", default="val", show_default=True, help="train, val or test of DATA.")
@_PROVIDER
@click.option("--threads", type=click.IntRange(0, 256), default=0, help="0: every core.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line and nothing else.")
@click.option("--pictures", type=_FOLDER, help="Write confusion, calibration and the worst pictures there.")
def evaluate_command(
    bundle: str, data: Path, split: str, provider: str, threads: int, as_json: bool, pictures: Path | None
) -> None:
    """Judge BUNDLE (a folder, or `default`) on DATA.yaml through the edge's own detector.

    DATA.yaml has ultralytics' form; its classes are matched with the bundle's by name.
    """
    from models.evaluate import evaluate
    from models.evaluate_pictures import write_pictures
    from models.yolo_data import load_yolo_data

    try:
        loaded = load_yolo_data(data, split)
        context, tick = _ticker(len(loaded.items), as_json, "pictures")
        with context:
            report = evaluate(_bundle(bundle), loaded, provider, threads, tick)
        written = write_pictures(report, loaded.names, pictures) if pictures else []
    except ValueError as exc:
        raise click.ClickException(str(exc)) from None
    figures = report.as_json()
    if as_json:
        click.echo(json.dumps(figures, ensure_ascii=False))
        return
    _print_table(figures)
    for path in written:
        click.echo(path)


def _print_table(figures: dict[str, Any]) -> None:
    keys = ("map50", "map50_95", "precision", "recall")
    table = Table("class", *keys, "images", "boxes", "threshold", "area covered", "area right")
    for row in figures["classes"]:
        values = (_cell(row[k]) for k in (*keys, "images", "boxes"))
        covered = figures["coverage"][row["name"]]
        more = (figures["thresholds"][row["name"]], covered["recall"], covered["precision"])
        table.add_row(row["name"], *values, *(_cell(v) for v in more))
    table.add_row(
        "all", *(_cell(figures[k]) for k in (*keys, "images", "boxes")), *("", "", ""), style="bold"
    )
    console = Console()
    console.print(table)
    console.print(
        f"calibration error {_cell(figures['calibration']['ece'])}; {figures['provider']}: "
        f"{figures['latency_ms']['p50']} ms a picture (95 %: {figures['latency_ms']['p95']} ms)"
    )
    if figures["not_in_bundle"]:
        console.print(f"in the data, not in the bundle: {', '.join(figures['not_in_bundle'])}")


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


@cli.command("verify")
@click.argument("bundle")
@_PROVIDER
def verify_command(bundle: str, provider: str) -> None:
    """Check hashes, manifest, shapes and one run of BUNDLE; exit status 1 with the reason where it fails."""
    from models.detector import Detector

    loaded = _bundle(bundle)
    try:
        detector = Detector(loaded, provider, max_batch=1)
        detector.warm()
    except ValueError as exc:
        raise click.ClickException(str(exc)) from None
    m = loaded.manifest
    click.echo(f"{m.name} {m.version}: {m.family}, {m.input.width} x {m.input.height}, {detector.provider}")
    click.echo(f"sha256 {loaded.sha256}, {loaded.onnx_path.stat().st_size / 1e6:.1f} MB")
    for c in m.classes:
        click.echo(f"  {c.name}: {c.role}, from {c.threshold}")


@cli.group("convert")
def convert_group() -> None:
    """Turn other formats into bundles."""


@convert_group.command("default")
@click.argument("package", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=_FOLDER)
def convert_default(package: Path, target: Path) -> None:
    """Make the first embedded default from PACKAGE, npm's @vladmandic/human 3.3.6 unpacked.

    `npm pack @vladmandic/human@3.3.6 && tar xzf vladmandic-human-3.3.6.tgz` makes the folder `package`.
    """
    from models.convert.centernet_default import make

    make(package, target)
    click.echo(f"{target}: {_bundle(str(target)).sha256}")


@convert_group.command("onnx")
@click.argument("source", type=_FILE)
@click.argument("target", type=_FOLDER)
@click.option("--name", required=True, help="Name of the bundle, small letters.")
@click.option("--version", default="1", show_default=True)
@click.option("--licence", required=True, help="Licence of the weights, as their owner states it.")
@click.option("--origin", required=True, help="Where the weights come from.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.3, show_default=True)
@click.option("--names", type=_FILE, help="Class names, one a line, where the file has none.")
@click.option("--all-classes", is_flag=True, help="Keep also the classes that no street rule uses.")
def convert_onnx(
    source: Path,
    target: Path,
    name: str,
    version: str,
    licence: str,
    origin: str,
    threshold: float,
    names: Path | None,
    all_classes: bool,
) -> None:
    """Make a bundle of an ONNX detector; family, size and classes are read from the file."""
    from models.convert.from_onnx import Origin, bundle_from_onnx

    listed = tuple(names.read_text("utf-8").split("\n")) if names else ()
    try:
        made = bundle_from_onnx(
            source,
            target,
            Origin(name, version, licence, origin),
            threshold=threshold,
            names=tuple(n.strip() for n in listed if n.strip()),
            keep_all=all_classes,
        )
    except ValueError as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(f"{target}: {made.manifest.family}, {len(made.names)} classes")


@cli.command("pull")
@click.argument("name")
@click.option("--into", type=_FOLDER, default=Path("var/models"), show_default=True)
@click.option(
    "--file", type=_FILE, help="A .pt file that is here already, for a machine without the internet."
)
@click.option("--sha256", help="The hash that you trust, for a name without a pin.")
def pull_command(name: str, into: Path, file: Path | None, sha256: str | None) -> None:
    """Fetch a stronger public model (yolo11n, …) through ultralytics and make a bundle of it. Needs the internet."""
    from models.convert.pull import PullError, pull

    try:
        made = pull(name, into, click.echo, file=file, sha256=sha256)
    except (PullError, BundleError) as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(f"use it: model.bundle: {made.folder}")


@cli.command("quantise")
@click.argument("bundle")
@click.argument("target", type=_FOLDER)
@click.option("--to", "kind", type=click.Choice(["int8", "float16"]), default="int8", show_default=True)
@click.option(
    "--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Street frames."
)
@click.option("--most", type=click.IntRange(8, 2000), default=128, show_default=True, help="Frames to use.")
@click.option("--judge", type=_FILE, help="DATA.yaml on which both are judged.")
@click.option("--clips", type=_FILE, help="Manifest of `bench events` on which both are judged too.")
@click.option(
    "--loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Allowed in mAP50 and recall.",
)
@_PROVIDER
def quantise_command(
    bundle: str,
    target: Path,
    kind: str,
    pictures: Path | None,
    most: int,
    judge: Path | None,
    clips: Path | None,
    loss: float,
    provider: str,
) -> None:
    """Make a smaller variant of BUNDLE in TARGET; exit status 1 where --judge or --clips show more loss than is allowed."""
    from models.convert.quantise import quantise

    try:
        made = quantise(_bundle(bundle), target, kind, pictures, most)
        click.echo(f"{target}: {made.onnx_path.stat().st_size / 1e6:.1f} MB")
        if judge and not _inside_loss(_bundle(bundle), made, judge, loss, provider):
            raise click.ClickException(f"{target}: loses more than {loss}; do not ship it")
        if clips and not _same_events(bundle, str(target), clips):
            raise click.ClickException(f"{target}: loses events or raises false ones; do not ship it")
    except ValueError as exc:
        raise click.ClickException(str(exc)) from None


def _same_events(before: str, after: str, clips: Path) -> bool:
    from curbwatch.commands.bench.events import events_json, run_events
    from training.gate import compare_events

    was, now = (events_json(runs, b, w) for b in (before, after) for runs, w in [run_events(clips, b)])
    for e in (found := compare_events(was, now)):
        click.echo(
            f"events {e.family}: found {e.champion_found} -> {e.candidate_found} of {e.expected}, "
            f"false {e.champion_false} -> {e.candidate_false}"
        )
    return all(e.verdict != "worse" for e in found)


_JUDGED = frozenset({"map50", "recall"})


def _inside_loss(before: Bundle, after: Bundle, data: Path, loss: float, provider: str) -> bool:
    from models.evaluate import evaluate
    from models.yolo_data import load_yolo_data

    loaded = load_yolo_data(data)
    figures = []
    for each in (before, after):
        context, tick = _ticker(len(loaded.items), False, each.manifest.version)
        with context:
            figures.append(evaluate(each, loaded, provider, tick=tick).as_json())
    inside = True
    for key in ("map50", "map50_95", "precision", "recall"):
        if figures[0][key] is None and key in _JUDGED:
            raise ValueError(
                f"{data}: nothing in it can judge {key}; name a data set with labels of the bundle's classes"
            )
        was, now = (f[key] or 0.0 for f in figures)
        click.echo(f"{key}: {was:.4f} -> {now:.4f}")
        inside = inside and (key not in _JUDGED or was - now <= loss)
    click.echo(f"p50: {figures[0]['latency_ms']['p50']} -> {figures[1]['latency_ms']['p50']} ms")
    return inside


@cli.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of a bundle's manifest."""
    from models.bundle import Manifest

    click.echo(json.dumps(Manifest.model_json_schema(), indent=1, ensure_ascii=False))
