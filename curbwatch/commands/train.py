"""`curbwatch train …`: verdicts and public sets -> data set -> training -> bundle -> gate."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from training.dataset import Dataset

FOLDER = click.Path(file_okay=False, path_type=Path)
HERE = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Cli(click.Group):
    """A group that shows a known error as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if ctx.obj == "debug":
                raise
            raise click.ClickException(f"{error.name} isn't installed; run: make install-training") from error
        except (ValueError, OSError, RuntimeError) as error:
            if ctx.obj == "debug":
                raise
            raise click.ClickException(str(error)) from error


@click.group("train", cls=Cli)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """From verdicts to a better model on the box."""
    ctx.obj = "debug" if debug else None


@cli.group("data")
def data() -> None:
    """Make, look at and convert data sets."""


def _bar(total: int, label: str) -> Any:
    return click.progressbar(length=total, label=label, show_pos=True)


@contextmanager
def _share_bar(*, hidden: bool) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
    """A bar of what share of a run is done, with lines above it; the lines alone where `hidden` or no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    screen = Console(stderr=True)
    if hidden or not screen.is_terminal:
        yield click.echo, lambda _: None
        return
    with Progress(console=screen) as progress:
        task = progress.add_task("training", total=1.0)
        yield (
            lambda line: progress.console.print(line, markup=False, highlight=False),
            lambda share: progress.update(task, completed=share),
        )


def _summary(dataset: Dataset, folder: Path) -> None:
    from training.plots import contact_sheet, plot_classes, statistics

    stats = statistics(dataset)
    (folder / "statistics.json").write_text(json.dumps(stats, ensure_ascii=False, indent=1) + "\n", "utf-8")
    plot_classes(dataset, folder / "classes.png")
    contact_sheet(dataset, folder / "contact_sheet.jpg")
    click.echo(json.dumps(stats, ensure_ascii=False, indent=1))
    click.echo(f"{folder}: version {dataset.version}; see classes.png and contact_sheet.jpg")


@data.command("merge")
@click.argument("sources", type=FILE)
@click.argument("out", type=FOLDER)
@click.option("--data", "base", type=HERE, help="Folder that the sources' paths count from.")
@click.option("--teacher", type=FILE, help="COCO checkpoint that labels what a set leaves unlabelled.")
@click.option(
    "--sure", type=click.FloatRange(0, 1), default=0.4, show_default=True, help="Teacher's score of a label."
)
@click.option(
    "--doubt", type=click.FloatRange(0, 1), default=0.2, show_default=True, help="Below: nothing is there."
)
def merge_command(
    sources: Path, out: Path, base: Path | None, teacher: Path | None, sure: float, doubt: float
) -> None:
    """Merge the sets of SOURCES (YAML) into one at OUT; scenes that leak into held-out parts are left out."""
    from training.dataset import save_dataset
    from training.dataset_sources import load_sources
    from training.fit import stay_offline
    from training.merge import merge, read_all
    from training.teacher import TeacherRule

    config = load_sources(sources, base)
    if teacher is None:
        merged = merge(config)
    else:
        stay_offline()
        from training.teacher_ultralytics import UltralyticsTeacher

        with _bar(len(read_all(config)), "teacher") as bar:
            labeller = UltralyticsTeacher(teacher, config.classes, conf=doubt)
            merged = merge(config, labeller, TeacherRule(sure, doubt), lambda: bar.update(1))
    for name, count in merged.dropped.items():
        click.echo(f"{name}: {count} training pictures left out, they show a held-out scene")
    _summary(save_dataset(merged.dataset, out), out)


@data.command("verdicts")
@click.argument("export", type=HERE)
@click.argument("out", type=FOLDER)
@click.option("--classes", help="Comma-separated; the street classes by default.")
@click.option(
    "--allow-unblurred", is_flag=True, help="Also take pictures whose faces and plates can be read."
)
@click.option(
    "--pictures", type=click.IntRange(1, 8), default=1, show_default=True, help="Pictures an alert."
)
@click.option("--by-camera", is_flag=True, help="A whole camera goes to one split.")
def verdicts_command(
    export: Path, out: Path, classes: str | None, allow_unblurred: bool, pictures: int, by_camera: bool
) -> None:
    """Turn an export of cases (cases.jsonl and evidence/) into a data set, split by camera and time."""
    import tempfile

    from training.classes import STREET_CLASSES
    from training.dataset import Dataset, save_dataset
    from training.split import SplitRule, split_items
    from training.verdicts import VerdictRule, read_cases, take_cases

    names = tuple(classes.split(",")) if classes else STREET_CLASSES
    rule = VerdictRule(blurred_only=not allow_unblurred, pictures_per_alert=pictures, classes=names)
    with tempfile.TemporaryDirectory() as work:
        taken = take_cases(read_cases(export / "cases.jsonl"), export / "evidence", Path(work), rule)
        for why, count in taken.left_out.most_common():
            click.echo(f"left out {count}: {why}")
        if not taken.items:
            raise click.ClickException(f"{export}: no case that teaches a class was left; see above why")
        items = split_items(taken.items, SplitRule(by_camera=by_camera))
        dataset = save_dataset(Dataset(names, tuple(items)), out, how="copy")
    _summary(dataset, out)


@data.command("join")
@click.argument("folder", type=HERE)
@click.argument("out", type=FOLDER)
@click.option(
    "--train", "others", type=HERE, multiple=True, required=True, help="A data set whose pictures all train."
)
def join_command(folder: Path, out: Path, others: tuple[Path, ...]) -> None:
    """Add data sets, such as one of verdicts, to the training part of FOLDER; its held-out parts stay as they are."""
    from training.dataset import save_dataset
    from training.join import join

    joined = join(folder, others)
    for name, count in joined.dropped.items():
        click.echo(f"{name}: {count} training pictures left out, they show a held-out scene")
    _summary(save_dataset(joined.dataset, out), out)


@data.command("check")
@click.argument("folder", type=HERE)
def check_command(folder: Path) -> None:
    """Look for scenes that lie on both sides of a split; exit status 1 where there is one."""
    from training.dataset import load_dataset
    from training.split import leaks

    found = leaks(load_dataset(folder).items)
    for leak in found[:50]:
        click.echo(f"{leak.first}  <->  {leak.second}: {leak.why}")
    click.echo(f"{len(found)} leaks")
    if found:
        raise SystemExit(1)


@data.command("stats")
@click.argument("folder", type=HERE)
@click.option("--out", type=FOLDER, help="Where the pictures go; the data set's folder by default.")
def stats_command(folder: Path, out: Path | None) -> None:
    """Statistics, class counts and a contact sheet."""
    from training.dataset import load_dataset

    target = out or folder
    target.mkdir(parents=True, exist_ok=True)
    _summary(load_dataset(folder), target)


@data.command("export")
@click.argument("folder", type=HERE)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", "kind", type=click.Choice(["coco", "labelstudio", "cvat"]), required=True)
@click.option("--split", default="train", show_default=True, help="For COCO: one file holds one split.")
def export_command(folder: Path, out: Path, kind: str, split: str) -> None:
    """Write a data set's labels as COCO JSON, Label Studio tasks or CVAT XML."""
    from training.dataset import load_dataset
    from training.formats_coco import to_coco
    from training.formats_cvat import to_cvat
    from training.formats_labelstudio import config_xml, to_tasks

    dataset = load_dataset(folder)
    if kind == "coco":
        text = json.dumps(to_coco(dataset, split, folder), ensure_ascii=False)
    elif kind == "labelstudio":
        text = json.dumps(to_tasks(dataset), ensure_ascii=False, indent=1)
        out.with_suffix(".config.xml").write_text(config_xml(dataset.classes), "utf-8")
    else:
        text = to_cvat(dataset)
    out.write_text(text + "\n", "utf-8")
    click.echo(f"{out}: {len(dataset.items)} pictures")


@data.command("import")
@click.argument("labels", type=FILE)
@click.argument("images", type=HERE)
@click.argument("out", type=FOLDER)
@click.option("--from", "kind", type=click.Choice(["coco", "labelstudio", "cvat", "yolo"]), required=True)
@click.option(
    "--classes", help="Comma-separated; the street classes by default (COCO, YOLO: the file's own)."
)
@click.option("--resplit", is_flag=True, help="Split anew, by scene.")
def import_command(
    labels: Path, images: Path, out: Path, kind: str, classes: str | None, resplit: bool
) -> None:
    """Read labels that people made or corrected, with the pictures of IMAGES, into a data set at OUT."""
    from training.classes import STREET_CLASSES
    from training.dataset import Dataset, load_yolo, save_dataset
    from training.formats_coco import from_coco
    from training.formats_cvat import from_cvat
    from training.formats_labelstudio import from_tasks
    from training.split import split_items

    names = tuple(classes.split(",")) if classes else STREET_CLASSES
    if kind == "coco":
        dataset = from_coco(labels, images)
    elif kind == "yolo":
        dataset = load_yolo(labels)
    elif kind == "cvat":
        dataset = from_cvat(labels, images, names)
    else:
        dataset = from_tasks(labels, images, names)
    if resplit:
        dataset = Dataset(dataset.classes, tuple(split_items(dataset.items)), dataset.sources)
    _summary(save_dataset(dataset, out, how="copy"), out)


@cli.command("fit")
@click.argument("recipe", type=FILE)
@click.option("--data", "folder", type=HERE, required=True, help="A data set made by `train data merge`.")
@click.option(
    "--weights", type=FILE, required=True, help="Pretrained checkpoint that the recipe starts from."
)
@click.option("--run", type=FOLDER, required=True, help="The run's folder; the same one again goes on.")
@click.option("--mlflow", type=FOLDER, help="MLflow's local store, such as var/mlruns.")
def fit_command(recipe: Path, folder: Path, weights: Path, run: Path, mlflow: Path | None) -> None:
    """Train what RECIPE says. Ctrl-C or SIGTERM saves and ends; the same command goes on."""
    from training.dataset import load_dataset
    from training.fit import fit
    from training.recipe import load_recipe
    from training.tracking import notebook

    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: stopped.append(signum))
    loaded = load_recipe(recipe)
    params = {"recipe": loaded.name, "version": loaded.version, **loaded.fit.model_dump(mode="json")}
    own_bars = loaded.fit.kind == "ultralytics"
    with notebook(mlflow, loaded.name, params, run) as notes, _share_bar(hidden=own_bars) as (say, share):
        done = fit(loaded, load_dataset(folder), weights, run, notes, say, lambda: bool(stopped), share)
    click.echo(f"best checkpoint: {done.best}")


@cli.command("bundle")
@click.argument("run", type=HERE)
@click.argument("out", type=FOLDER)
@click.option(
    "--data", "folder", type=HERE, required=True, help="The data set; thresholds come from its val part."
)
@click.option(
    "--weights", type=FILE, required=True, help="The pretrained checkpoint that the run started from."
)
def bundle_command(run: Path, out: Path, folder: Path, weights: Path) -> None:
    """Export RUN to ONNX, check it against the network, choose thresholds, write the bundle OUT with its card."""
    from training.dataset import load_dataset
    from training.fit import RunFolder, stay_offline
    from training.release import release

    stay_offline()
    bundle = release(RunFolder(run), load_dataset(folder), weights, out, click.echo)
    click.echo(
        f"{out}: {bundle.manifest.name} {bundle.manifest.version}, {bundle.onnx_path.stat().st_size / 1e6:.1f} MB"
    )


@cli.command("promote")
@click.argument("candidate")
@click.argument("champion")
@click.argument("folder", type=HERE)
@click.option("--split", default="test", show_default=True)
@click.option("--manifest", type=FILE, help="Clips of `bench events`: both are run on them.")
@click.option("--events", type=(FILE, FILE), help="Or `bench events --json` of CANDIDATE and of CHAMPION.")
@click.option("--no-events", is_flag=True, help="Decide without the event benchmark.")
@click.option("--require", help="Comma-separated classes that must be judged; all with boxes by default.")
@click.option(
    "--margin", type=click.FloatRange(0, 1), default=0.03, show_default=True, help="Loss of AP50 allowed."
)
@click.option("--out", type=FOLDER, default=Path("var/gate"), show_default=True)
def promote_command(
    candidate: str,
    champion: str,
    folder: Path,
    split: str,
    manifest: Path | None,
    events: tuple[Path, Path] | None,
    no_events: bool,
    require: str | None,
    margin: float,
    out: Path,
) -> None:
    """May bundle CANDIDATE replace CHAMPION? Exit status 0 passed, 1 stopped, 2 not enough evidence."""
    from training.dataset import load_dataset
    from training.gate import GateRule
    from training.promote import promote, show

    if manifest and not events:
        events = _run_events(manifest, candidate, champion, out)
    names = tuple(require.split(",")) if require else ()
    rule = GateRule(margin=margin, required=names, needs_events=not no_events)
    with _bar(len(load_dataset(folder).of(split)), "pictures") as bar:
        report = promote(candidate, champion, folder, split, events, rule, out, lambda: bar.update(1))
    show(report)
    click.echo(f"report and pictures: {out}")
    raise SystemExit({"passed": 0, "stopped": 1, "not_enough": 2}[report.decision])


def _run_events(manifest: Path, candidate: str, champion: str, out: Path) -> tuple[Path, Path]:
    from curbwatch.commands.bench.events import events_json, run_events

    out.mkdir(parents=True, exist_ok=True)
    files = out / "events_candidate.json", out / "events_champion.json"
    for bundle, path in zip((candidate, champion), files, strict=True):
        runs, warnings = run_events(manifest, bundle)
        path.write_text(json.dumps(events_json(runs, bundle, warnings), indent=1) + "\n", "utf-8")
    return files


@cli.command("queue")
@click.argument("bundle")
@click.argument("pictures", type=HERE)
@click.option("--second", help="A second bundle, for disagreement.")
@click.option(
    "--labelled", type=HERE, help="Data set of what is labelled already, for rare cameras and hours."
)
@click.option("--count", type=click.IntRange(1, 10000), default=100, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("var/queue.json"), show_default=True)
def queue_command(
    bundle: str, pictures: Path, second: str | None, labelled: Path | None, count: int, out: Path
) -> None:
    """What to label next among PICTURES (a folder, a data set with cameras and times, or an export of waiting cases).

    `curbwatch api export-labels --waiting` makes such an export, `curbwatch api label-queue` shows the queue in the
    console.
    """
    from models.bundle import load_bundle
    from training.active import write_queue
    from training.active_run import items_in, queue_of

    left_out: list[str] = []
    with _bar(len(items_in(pictures)), "pictures") as bar:
        queue = queue_of(bundle, pictures, second, labelled, count, lambda: bar.update(1), left_out.append)
    manifest = load_bundle(bundle).manifest
    write_queue(queue, out, f"{manifest.name}@{manifest.version}")
    for line in left_out:
        click.echo(line)
    for entry in queue[:10]:
        click.echo(f"{entry.score:.3f}  {entry.camera_id or '-':12} {entry.key}  {entry.why}")
    click.echo(f"{out}: {len(queue)} to label")
