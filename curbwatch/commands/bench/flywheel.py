"""`curbwatch bench flywheel`: what verdicts are worth, from the first alert to the gate."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
RECIPE = Path(__file__).parents[3] / "training" / "recipes" / "flywheel.yaml"


@click.command("flywheel")
@click.argument("data", type=FILE)
@click.option("--weights", type=FILE, required=True, help="Pretrained YOLO11n checkpoint.")
@click.option(
    "--recipe", type=FILE, default=RECIPE, show_default=False, help="Default: training/recipes/flywheel.yaml."
)
@click.option("--start", default=80, show_default=True, help="Labelled pictures of the weak model.")
@click.option(
    "--check", default=100, show_default=True, help="Labelled pictures that choose checkpoint and thresholds."
)
@click.option(
    "--verdicts", default="0,100,300,900", show_default=True, help="Train again after so many; 0: control."
)
@click.option(
    "--see", default=0.1, show_default=True, help="Score from which the weak model raises an alert."
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/flywheel"),
    show_default=True,
)
def cli(
    data: Path, weights: Path, recipe: Path, start: int, check: int, verdicts: str, see: float, work: Path
) -> None:  # fmt: skip
    """Train a weak model on a part of DATA (an ultralytics data.yaml), let a reviewer who knows the labels judge its
    alerts through a real API, retrain, and show the gain on DATA's held-out part with its interval."""
    from bench.flywheel.report import curve, table
    from bench.flywheel.wheel import Wheel, turn
    from training.classes import STREET_CLASSES
    from training.dataset import load_yolo
    from training.join import in_classes
    from training.recipe import load_recipe

    wheel = Wheel(load_recipe(recipe), weights, start, check, tuple(int(v) for v in verdicts.split(",")), see)
    screen = Console(stderr=True)
    turns, given = turn(
        wheel,
        in_classes(load_yolo(data), STREET_CLASSES),
        work,
        lambda line: screen.print(line, markup=False),
    )
    told = {"given": given, "turns": [t.as_dict() for t in turns]}
    (work / "flywheel.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    curve(turns, work / "flywheel.png")
    click.echo(table(turns))
    click.echo(f"{work}/flywheel.json, {work}/flywheel.png")
