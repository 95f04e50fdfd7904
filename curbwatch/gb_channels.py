"""The channels that GB/T 28181 devices tell: of a gateway, or of the devices that register at this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from camera_adapters.gateway import Gateway, GatewayAddress, place_of
from camera_adapters.gb import bind_of
from camera_adapters.gb_platform import GbPlatform, PartialCatalogError
from camera_adapters.reasons import StreamFaultError

Rows = list[dict[str, Any]]
# Where the gateway itself refuses or is away, the next device would be asked in vain.
_NOT_THE_DEVICES = frozenset({"auth", "refused", "tls"})


def channels_of_gateway(url: str) -> dict[str, Any]:
    """Return `channels` of all devices of a gateway (gb28181+http://…), and under `missing` the devices that failed, with the reason.

    Raises:
        StreamFaultError: the gateway fails, or all of its devices do.
        ValueError: the address is none.
    """
    with Gateway(GatewayAddress.parse(url, whole=False)) as gateway:

        def ask(device: str) -> tuple[Rows, StreamFaultError | None]:
            return [
                {"device": device, "channel": c.channel, "name": c.name, "online": c.online, "place": c.place}
                for c in gateway.channels(device)
            ], None

        return _listing(gateway.devices(), ask)


def channels_that_register(url: str, seconds: float) -> dict[str, Any]:
    """Return what `channels_of_gateway` does, of the devices that register at a gb28181:// address of this machine within `seconds`.

    Raises:
        StreamFaultError: no device registers, none tells its channels, or a box listens there already.
        OSError: the address is not this machine's.
        ValueError: the address is none.
    """
    bind, password = bind_of(url)
    with GbPlatform(bind, password) as platform:
        threading.Event().wait(seconds)
        if not platform.devices():
            raise StreamFaultError(
                "timeout", f"no device has registered at {bind[0]}:{bind[1]} within {seconds:g} s"
            )
        return channels_of_devices(platform)


def channels_of_devices(platform: GbPlatform, patience_s: float = 10.0) -> dict[str, Any]:
    """Return what `channels_of_gateway` does, of the devices that are registered; each has `patience_s` to tell its channels.

    Raises:
        StreamFaultError: none tells any.
    """

    def ask(device: str) -> tuple[Rows, StreamFaultError | None]:
        try:
            return [_row(device, item) for item in platform.catalog(device, patience_s)], None
        except PartialCatalogError as exc:
            return [_row(device, item) for item in exc.channels], exc

    return _listing(platform.devices(), ask)


def _row(device: str, item: dict[str, str]) -> dict[str, Any]:
    return {
        "device": device,
        "channel": item.get("DeviceID", ""),
        "name": item.get("Name", ""),
        "online": item.get("Status", "").upper() in {"ON", "OK"},
        "place": place_of(item.get("Longitude"), item.get("Latitude")),
    }


def _listing(
    devices: list[str], ask: Callable[[str], tuple[Rows, StreamFaultError | None]]
) -> dict[str, Any]:
    found: Rows = []
    faults: dict[str, StreamFaultError] = {}
    for device in devices:
        fault: StreamFaultError | None
        try:
            rows, fault = ask(device)
        except StreamFaultError as exc:
            if exc.code in _NOT_THE_DEVICES:
                raise
            rows, fault = [], exc
        found += rows
        if fault is not None:
            faults[device] = fault
    if faults and not found:
        told = "; ".join(f"{device}: {fault}" for device, fault in faults.items())
        raise StreamFaultError(next(iter(faults.values())).code, told)
    missing = [{"device": d, "reason": f"{f.code}: {f}"} for d, f in faults.items()]
    return {"channels": found, **({"missing": missing} if missing else {})}
