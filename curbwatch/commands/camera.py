"""`curbwatch camera`: what a camera gives, and its entry in a box's file."""

from __future__ import annotations

import json
import os
import re
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import yaml

from camera_adapters.clock import SystemClock
from camera_adapters.mends import mend_for, same_shape, sub_stream_of
from camera_adapters.onvif import OnvifAddress, check_preset, describe
from camera_adapters.onvif_discovery import discover
from camera_adapters.probe import ProbeReport, probe
from camera_adapters.reasons import StreamFaultError
from camera_adapters.redact import check_login, redact, secrets_of
from curbwatch.camera_entry import add_to_box, entry_text, hide_secrets, save_secrets, sub_entry
from curbwatch.gb_channels import channels_of_gateway, channels_that_register

_PLACE = re.compile(r"^(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)$")


@click.group("camera")
def cli() -> None:
    """Probe cameras and add them to a box."""


@cli.command("probe")
@click.argument("url", required=False)
@click.option(
    "--onvif", metavar="HOST", help="Ask a camera by ONVIF: host, host:port or onvif://user:password@host."
)
@click.option("--discover", "look_around", is_flag=True, help="Look for ONVIF cameras in the local network.")
@click.option(
    "--gb28181",
    metavar="URL",
    help="List channels: of a gateway (gb28181+http://user:password@host:port), or of the devices that register here within --seconds (gb28181://:PASSWORD@BIND-HOST:PORT).",
)
@click.option(
    "--user", default="", help="User for --onvif; the password comes from CURBWATCH_CAMERA_PASSWORD."
)
@click.option(
    "--preset", metavar="NAME", help="With --onvif: does the PTZ camera stand at this preset? Exit 1 if not."
)
@click.option(
    "--seconds", type=click.FloatRange(1, 60), default=5.0, show_default=True, help="How long to watch."
)
@click.option("--transport", type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Save the last picture here."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
def probe_command(
    url: str | None,
    onvif: str | None,
    look_around: bool,
    gb28181: str | None,
    user: str,
    preset: str | None,
    seconds: float,
    transport: str,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Say what an address gives, and how to mend it when it gives nothing."""
    asked = [x for x in (url, onvif, gb28181, look_around or None) if x is not None]
    if len(asked) != 1:
        raise click.UsageError("give one of: a URL, --onvif HOST, --discover, --gb28181 URL")
    if onvif is not None and "://" not in onvif:
        onvif = f"onvif://{onvif}/"
    given = onvif or gb28181 or url or ""
    _check_address("--onvif" if onvif else "--gb28181" if gb28181 else "URL", given)
    try:
        if onvif is not None:
            answer = _ask_onvif(onvif, user, preset)
            _tell(answer, as_json)
            if preset is not None and answer["preset"]["mend"]:
                sys.exit(1)
        elif look_around:
            _tell({"found": discover()}, as_json)
        elif gb28181 is not None:
            native = gb28181.startswith("gb28181://")
            listed = channels_that_register(gb28181, seconds) if native else channels_of_gateway(gb28181)
            _tell(listed, as_json)
        else:
            _probe_url(str(url), seconds, transport, picture, as_json)
    except StreamFaultError as exc:
        _fail(f"{exc.code}: {redact(exc, secrets_of(given))}", mend_for(exc.code), as_json)
    except OSError as exc:
        _fail(
            f"refused: {exc.strerror or exc}", "This machine's network does not let the search out.", as_json
        )
    except ValueError as exc:
        raise click.UsageError(redact(exc, secrets_of(given))) from None


def _probe_url(url: str, seconds: float, transport: str, picture: Path | None, as_json: bool) -> None:
    clock, sub_url = SystemClock(), sub_stream_of(url)
    beside: list[Future[ProbeReport]] = []
    with ThreadPoolExecutor(1) as pool:

        def begin() -> None:
            # Not before the login has proved right: two wrong ones at once lock an address out sooner.
            if sub_url is not None:
                beside.append(pool.submit(probe, sub_url, clock, min(seconds, 2.0), transport))

        report = probe(url, clock, seconds, transport, picture, begin)
    sub = beside[0].result() if beside and report.ok else None
    if as_json:
        click.echo(json.dumps({**report.as_dict(), "sub": sub.as_dict() if sub else None}))
    else:
        _print_report(report)
        if sub is not None and sub.ok:
            click.echo(f"sub stream  {sub.codec} {sub.width}x{sub.height}, {sub.fps} fps at {sub.url}")
            click.echo(f"advice      {_sub_advice(report, sub)}")
        elif sub is not None:
            click.echo(f"sub stream  none at {sub.url} ({sub.reason})")
        elif report.ok:
            click.echo("sub stream  not known for this address; ask the camera by --onvif HOST")
    if not report.ok:
        sys.exit(1)


def _sub_advice(report: ProbeReport, sub: ProbeReport) -> str:
    if same_shape((report.width, report.height), (sub.width, sub.height)):
        return "Give it as sub_url (`camera add … --sub auto`): it is looked at, and the main stream is decoded for evidence alone."
    return "It has another shape than the main stream: set both alike, or, if it shows the whole view squeezed, add sub_stretched: true."


def _print_report(report: ProbeReport) -> None:
    click.echo(f"address     {report.url}")
    if not report.ok:
        click.echo(f"failed      {report.reason}")
        click.echo(f"mend        {report.mend}")
        for address in report.answering:
            click.echo(f"answers     {address}")
        return
    click.echo(
        f"reachable   yes, login right; live after {report.connected_s:.2f} s, first picture after {report.first_picture_s:.2f} s"
    )
    click.echo(
        f"video       {report.codec} {report.width}x{report.height}, {report.fps} fps, {report.kbit_s} kbit/s"
    )
    least = "at least " if report.gop_is_least else ""
    click.echo(f"key frame   every {least}{report.key_interval_s} s, GOP of {least}{report.gop} pictures")
    offset = "" if report.clock_source == "file" else "; the camera tells no time of its own"
    if report.clock_offset_s is not None:
        offset = f", {report.clock_offset_s:+.2f} s against this machine"
    click.echo(f"clock       {report.clock_source}{offset}")
    if report.picture:
        click.echo(f"picture     {report.picture}")
    for line in report.advice:
        click.echo(f"advice      {line}")


def _ask_onvif(url: str, user: str, preset: str | None) -> dict[str, Any]:
    address = OnvifAddress.parse(url)
    if user:
        password = os.environ.get("CURBWATCH_CAMERA_PASSWORD", "")
        address = OnvifAddress(
            address.host, address.port, user, password, address.https, address.profile, address.role
        )
    facts = describe(address)
    checked = {} if preset is None else {"preset": _check(address, preset)}
    return {
        **checked,
        "maker": facts.maker,
        "model": facts.model,
        "serial": facts.serial,
        "firmware": facts.firmware,
        "place": list(facts.place) if facts.place else None,
        "location": facts.location,
        "clock_offset_s": facts.clock_offset_s,
        "presets": [{"token": t, "name": n} for t, n in facts.presets],
        "profiles": [
            {
                "token": p.token,
                "codec": p.codec,
                "size": f"{p.width}x{p.height}",
                "fps": p.fps,
                "address": address.of_profile(p.token),
            }
            for p in facts.profiles
        ],
    }


def _check(address: OnvifAddress, preset: str) -> dict[str, Any]:
    check = check_preset(address, preset)
    mend = ""
    if not check.found:
        mend = f"The camera has no preset {preset}; its presets are listed below."
    elif check.at_preset is False:
        mend = "The camera was steered away: send it back, or its zones lie elsewhere."
    return {
        "name": preset,
        "found": check.found,
        "at_preset": check.at_preset,
        "off": check.off,
        "mend": mend,
    }


def _check_address(field: str, url: str) -> None:
    """Refuse an unreadable address before a library repeats a part of its password."""
    try:
        check_login(url)
    except ValueError as exc:
        raise click.UsageError(f"{field}: {exc}") from None


def _tell(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(answer, sort_keys=False, allow_unicode=True).rstrip())


def _fail(reason: str, mend: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"ok": False, "reason": reason, "mend": mend}))
    else:
        click.echo(f"failed      {reason}\nmend        {mend}")
    sys.exit(1)


@cli.command("add")
@click.argument("camera_id")
@click.argument("url")
@click.option(
    "--place",
    metavar="LON,LAT",
    help="Where the camera hangs, WGS-84 degrees; an onvif:// camera that knows its place is asked without.",
)
@click.option(
    "--box",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="The box's file to add it to; printed by default.",
)
@click.option("--name", default="", help="A name for people.")
@click.option("--transport", type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True)
@click.option(
    "--sub", metavar="URL|auto", help="The sub stream's address; auto takes it by the maker's habit."
)
@click.option(
    "--save-password", is_flag=True, help="Write the password into the box's .env file (mode 600) too."
)
def add_command(
    camera_id: str, url: str, place: str | None, box: Path | None, name: str, transport: str, sub: str | None,
    save_password: bool,
) -> None:  # fmt: skip
    """Write a camera's entry. Passwords in URL become variables, so that the box's file does not hold them."""
    _check_address("URL", url)
    _check_address("--sub", sub or "")
    lon, lat = _place_of(url, place)
    address, secrets = hide_secrets(url, camera_id)
    entry: dict[str, Any] = {"id": camera_id}
    if name:
        entry["name"] = name
    sub_address, sub_secrets = sub_entry(url, sub, camera_id, secrets)
    entry |= {
        "url": address,
        **({"sub_url": sub_address} if sub_address else {}),
        "transport": transport,
        "place": {"lon": lon, "lat": lat},
    }
    text = entry_text(entry)
    secrets |= sub_secrets
    if box is None:
        click.echo(text, nl=False)
    else:
        if save_password:
            save_secrets(box.with_suffix(".env"), secrets)
        add_to_box(box, text, secrets)
        click.echo(f"added {camera_id} to {box}; draw its zones next")
    if not save_password or box is None:
        for name_ in secrets:
            told = f"put {name_}=…  (the camera's password, percent-encoded) into the box's .env file"
            click.echo(f"{told}, or export it before the start", err=True)


def _place_of(url: str, place: str | None) -> tuple[float, float]:
    if place is not None:
        found = _PLACE.match(place)
        if not found:
            raise click.UsageError("--place: write longitude,latitude in degrees, for example 120.15,30.28")
        return float(found[1]), float(found[2])
    if not url.startswith("onvif"):
        raise click.UsageError(
            "--place: missing; write longitude,latitude in degrees, for example 120.15,30.28"
        )
    try:
        told = describe(OnvifAddress.parse(url)).place
    except (StreamFaultError, ValueError) as exc:
        raise click.ClickException(redact(exc, secrets_of(url))) from None
    if told is None:
        raise click.UsageError("--place: the camera does not know its place; give it")
    return told


@cli.command("commission")
@click.argument("camera_id")
@click.option(
    "--box",
    required=True,
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="The box's file.",
)
@click.option(
    "--seconds", type=click.FloatRange(2, 600), default=20.0, show_default=True, help="How long to watch."
)
@click.option("--night", is_flag=True, help="This is the view after dark; it is kept beside the day's.")
@click.option("--dry-run", is_flag=True, help="Measure and compare, but keep nothing.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Save the picture here too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
def commission_command(
    camera_id: str, box: Path, seconds: float, night: bool, dry_run: bool, picture: Path | None, as_json: bool
) -> None:
    """Measure a camera's view for its zones and keep it as the right one; a running box takes it up by itself."""
    from edge.commission_run import run_commission
    from edge.config import load_box

    try:
        config = load_box(box)
        camera = next((c for c in config.cameras if c.id == camera_id), None)
        if camera is None:
            known = ", ".join(c.id for c in config.cameras)
            raise click.ClickException(f"{box} has no camera {camera_id}; it has {known}")
        report, text = run_commission(
            config,
            camera,
            SystemClock(),
            seconds,
            "night" if night else "day",
            keep=not dry_run,
            picture=picture,
        )
    except (OSError, ValueError) as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(json.dumps(report.as_dict(), ensure_ascii=False) if as_json else "\n".join(text))
