"""`curbwatch demo`: a camera's street issue becomes a reviewed case, on this machine."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from curbwatch.demo.children import ChildDiedError, Children
from curbwatch.demo.clip import ClipUnavailableError
from curbwatch.demo.run import Demo, DemoFailedError
from curbwatch.demo.show import Show


@click.command("demo")
@click.option("--source", help="Your own camera (rtsp://…) or a video file, instead of the demo's clip.")
@click.option(
    "--once", is_flag=True, help="End after the first case was filed and confirmed through the API."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end (with --once).")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=Path("var/demo"), show_default=True
)
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), default=Path("var/cache"), show_default=True
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the console; a free one by default.")
@click.option(
    "--limit",
    type=click.FloatRange(5, 3600),
    default=120.0,
    show_default=True,
    help="Seconds to wait for the case.",
)
def cli(
    source: str | None, once: bool, as_json: bool, data: Path, cache: Path, port: int | None, limit: float
) -> None:
    """Start API, camera and edge worker; a case appears, and you judge it in the console."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job inherits an ignored SIGINT
        signal.signal(number, _interrupt)
    show = Show()
    demo = Demo(data, cache, show, source, port)
    try:
        with demo.running() as children:
            case = demo.first_case(children, limit)
            _describe(show, case)
            if once:
                demo.with_clip(children, case["id"])
                confirmed = demo.confirm(case["id"])
                show.line(
                    f"confirmed through the API: case {confirmed['number']} is now [bold]{confirmed['state']}[/bold]"
                )
                if as_json:
                    click.echo(json.dumps(_summary(demo, confirmed)))
                return
            _stay(show, demo, children)
    except KeyboardInterrupt:
        show.line("stopped; everything has ended")
    except (DemoFailedError, ChildDiedError, ClipUnavailableError) as exc:
        if as_json:
            click.echo(json.dumps({"error": str(exc)}))
        click.echo(f"error: {exc}", err=True)
        sys.exit(1)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _describe(show: Show, case: dict[str, Any]) -> None:
    alert = case["alerts"][0]
    kinds = ", ".join(sorted({e["kind"] for a in case["alerts"] for e in a["evidence"]}))
    show.line(
        f"  issue     {case['issue']} in zone {alert['zone']['id']} ({alert['zone']['street_class']} street)"
    )
    show.line(
        f"  place     {case['place']['lat']:.5f} N {case['place']['lon']:.5f} E ({case['place']['source']})"
    )
    show.line(f"  dwell     {alert['dwell']['dwell_s']:.0f} s by the box's monotonic clock")
    show.line(f"  evidence  {kinds}")


def _stay(show: Show, demo: Demo, children: Children) -> None:
    user, password = demo.login
    show.line()
    show.line(
        f"[bold]Open {demo.address}[/bold]  user [bold]{user}[/bold]  password [bold]{password}[/bold]  (made for this run)"
    )
    show.line(
        "Press [bold]c[/bold] to confirm the case, [bold]r[/bold] and a digit to reject it, [bold]?[/bold] for all keys. Ctrl-C ends the demo."
    )
    known = {c["id"] for c in demo.cases()}
    while True:
        children.check()
        time.sleep(2)
        now = demo.cases()
        for case in now:
            if case["id"] not in known:
                show.line(f"new case {case['number']}: {case['issue']}")
        for gone in known - {c["id"] for c in now}:
            whole = demo.case(gone)
            show.line(f"case {whole['number']} is now [bold]{whole['state']}[/bold]")
        known = {c["id"] for c in now}


def _summary(demo: Demo, case: dict[str, Any]) -> dict[str, Any]:
    alert = case["alerts"][0]
    return {
        "first_frame_s": demo.timings.first_frame_s,
        "first_alert_s": demo.timings.first_alert_s,
        "case_s": demo.timings.case_s,
        "alerts": len(demo.timings.alerts),
        "case_id": case["id"],
        "state": case["state"],
        "issue": case["issue"],
        "zone": alert["zone"]["id"],
        "box": alert["box"],
        "evidence": {e["kind"]: e["sha256"] for e in alert["evidence"]},
    }
