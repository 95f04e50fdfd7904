"""The box's uplink against the real centre."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest
from api_parts import JPEG, centre

from edge.log import get_logger
from edge.outbox import Outbox, Priority
from edge.uplink import RetryLaterError, Uplink


def test_a_file_that_another_request_still_holds_at_the_centre_is_kept(tmp_path: Path) -> None:
    with centre(tmp_path / "centre") as api:
        outbox = Outbox(tmp_path / "outbox")
        sha256 = outbox.put_file(JPEG, Priority.PICTURE, "image/jpeg", 1.0)
        client = api.box("box-1")
        uplink = Uplink(outbox, client, get_logger())
        with api.core.store._part(sha256).open("ab") as part:
            # The first request timed out at the box, not at the centre.
            fcntl.flock(part, fcntl.LOCK_EX)
            with pytest.raises(RetryLaterError):
                uplink.send_once(threading.Event())
        assert outbox.level().files == 1
        uplink.send_once(threading.Event())
        assert outbox.level().files == 0
        assert client.head(f"/evidence/{sha256}").status_code == 200
