"""Why a stream is down: reason codes, and how long to wait before the next try."""

from __future__ import annotations

from collections.abc import Callable

import av

from camera_adapters.stream import StreamOptions

# The peer is there or soon back: a short cap keeps the recovery within seconds of its return.
_QUICK = frozenset({"refused", "timeout", "eof", "in_use"})


class StreamFaultError(Exception):
    """A failure whose reason code the adapter knows: auth, not_found, refused, timeout, server, eof, no_key, codec, tls,
    in_use or protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def connect_fault(exc: Exception, who: str) -> StreamFaultError:
    """Return what a failed HTTP connection means: a certificate that nobody vouches for is no absent host."""
    if "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return StreamFaultError("tls", f"{who}: its certificate is not signed by a known authority")
    return StreamFaultError("refused", f"{who}: {exc}")


def classify(exc: BaseException, elapsed_s: float, timeout_s: float) -> str:
    """Return the reason code of a failure that came `elapsed_s` seconds after the connection was begun."""
    if isinstance(exc, StreamFaultError):
        return exc.code
    if isinstance(exc, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return "auth"
    if isinstance(exc, av.error.HTTPNotFoundError):
        return "not_found"
    # A server that accepts and stays silent raises InvalidDataError after the timeout, not a timeout error.
    if isinstance(exc, (TimeoutError, av.error.ExitError)) or elapsed_s >= timeout_s * 0.95:
        return "timeout"
    if isinstance(exc, ConnectionRefusedError):
        return "refused"
    if isinstance(exc, (ConnectionError, EOFError)):
        return "eof"
    if isinstance(exc, (av.error.HTTPOtherClientError, av.error.HTTPServerError)):
        return "server"
    return "protocol"


def family(reason: str) -> str:
    """Return which failures count together: ten refusals during an outage say nothing of a wrong path after it."""
    return "quick" if reason in _QUICK else "auth" if reason == "auth" else "slow"


def backoff_s(
    attempt: int, reason: str, options: StreamOptions, uniform: Callable[[float, float], float]
) -> float:
    """Return the seconds to wait after failure number `attempt` (from 1): exponential, with jitter and a cap."""
    if reason == "auth":
        # Later, never sooner: the channels of a recorder do not all come again at one moment.
        return options.auth_backoff_s * uniform(1.0, 1.2)
    cap = options.quick_cap_s if reason in _QUICK else options.backoff_cap_s
    grown = options.backoff_base_s * 2.0 ** min(attempt, 16)
    return min(cap, grown) * uniform(0.5, 1.0)
