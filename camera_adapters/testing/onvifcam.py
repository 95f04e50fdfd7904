"""An ONVIF camera simulator on the standard library: discovery, facts, profiles, stream address, place, presets, login."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import re
import socket
import struct
import threading
import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from defusedxml import ElementTree

_SPACES = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "tds": "http://www.onvif.org/ver10/device/wsdl",
    "trt": "http://www.onvif.org/ver10/media/wsdl",
    "tr2": "http://www.onvif.org/ver20/media/wsdl",
    "tptz": "http://www.onvif.org/ver20/ptz/wsdl",
    "tt": "http://www.onvif.org/ver10/schema",
    "ter": "http://www.onvif.org/ver10/error",
}
_NS = " ".join(f'xmlns:{k}="{v}"' for k, v in _SPACES.items())
_PREFIX = {
    "GetProfiles": "trt",
    "GetStreamUri": "trt",
    "GetPresets": "tptz",
    "GetStatus": "tptz",
}
_SCOPES = (
    "onvif://www.onvif.org/type/video_encoder",
    "onvif://www.onvif.org/name/sim-gate",
    "onvif://www.onvif.org/hardware/sim-1",
    "onvif://www.onvif.org/location/east%20gate",
)
_OPEN = frozenset({"GetSystemDateAndTime", "GetCapabilities", "GetServices"})


@dataclass(frozen=True)
class SimulatedProfile:
    """A stream that the simulator offers. H.265 is described by Media2 alone, as ONVIF has it; `codec` "" is metadata alone."""

    url: str
    width: int
    height: int
    codec: str = "H264"


class _Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


Position = tuple[float, float, float]
GROUP, PORT = "239.255.255.250", 3702


class OnvifCam:
    """The simulator, a context manager. `calls` has the operations asked for.

    With `media2` it offers that service too, and gives its streams' addresses there alone. `host` is the loopback's address. `presets` are (token, name, (pan, tilt, zoom)); `position` is where it looks now. With `discoverable` it answers
    WS-Discovery on the loopback's multicast group.
    """

    def __init__(
        self,
        profiles: dict[str, SimulatedProfile],
        login: tuple[str, str] = ("admin", "secret"),
        place: tuple[float, float] | None = None,
        presets: tuple[tuple[str, str, Position | None], ...] = (),
        position: Position | None = None,
        discoverable: bool = False,
        media2: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.position, self.media2 = position, media2
        self.profiles, self.login, self.place, self.presets = profiles, login, place, presets
        self.calls: list[str] = []
        self._server = (_Server6 if ":" in host else http.server.ThreadingHTTPServer)(
            (host, 0), _handler_for(self)
        )
        self.port = int(self._server.server_port)
        netloc = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._xaddr = f"http://{netloc}/onvif/device_service"
        self._thread = threading.Thread(target=self._server.serve_forever, name="onvifcam", daemon=True)
        self._group = _group_socket() if discoverable else None
        self._probes = threading.Thread(target=self._answer_probes, name="onvifprobe", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if self._group is not None:
            self._probes.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group is not None:
            group, self._group = self._group, None
            self._probes.join(2)
            group.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """Return the HTTP status and the SOAP answer to a request."""
        root = ElementTree.fromstring(request)
        fields = {e.tag.split("}")[-1]: (e.text or "").strip() for e in root.iter()}
        body = next(e for e in root if e.tag.endswith("}Body"))
        operation = body[0].tag.split("}")[-1]
        second = body[0].tag.startswith("{" + _SPACES["tr2"])
        self.calls.append(operation)
        if operation not in _OPEN and not self._authorised(fields):
            return 400, _envelope(_fault("ter:NotAuthorized", "Sender not authorized"))
        inner = self._media2(operation, fields) if second else self._inner(operation, fields)
        if inner is None:
            return 400, _envelope(_fault("ter:ActionNotSupported", "Action not supported"))
        prefix = "tr2" if second else _PREFIX.get(operation, "tds")
        return 200, _envelope(f"<{prefix}:{operation}Response>{inner}</{prefix}:{operation}Response>")

    def _answer_probes(self) -> None:
        """Answer each Probe for cameras with a ProbeMatch to its sender (WS-Discovery 2005/04)."""
        while (group := self._group) is not None:
            with contextlib.suppress(TimeoutError, ElementTree.ParseError, StopIteration):
                data, sender = group.recvfrom(65_535)
                root = ElementTree.fromstring(data)
                wanted = next(e.text or "" for e in root.iter() if e.tag.endswith("}Types"))
                message = next(e.text or "" for e in root.iter() if e.tag.endswith("}MessageID"))
                if not wanted.strip() or "NetworkVideoTransmitter" in wanted:
                    self.calls.append("Probe")
                    group.sendto(_probe_match(message, self._xaddr), sender)

    def _authorised(self, fields: dict[str, str]) -> bool:
        """Check a UsernameToken digest (OASIS WS-Security 1.1): base64(sha1(nonce + created + password))."""
        nonce, created = fields.get("Nonce", ""), fields.get("Created", "")
        if not nonce or fields.get("Username") != self.login[0]:
            return False
        plain = base64.b64decode(nonce) + created.encode() + self.login[1].encode()
        digest = hashlib.sha1(plain, usedforsecurity=False).digest()
        return fields.get("Password") == base64.b64encode(digest).decode()

    def _inner(self, operation: str, fields: dict[str, str]) -> str | None:
        token = fields.get("ProfileToken", "")
        if operation == "GetDeviceInformation":
            names = ("Manufacturer", "Model", "FirmwareVersion", "SerialNumber", "HardwareId")
            return "".join(f"<tds:{n}>sim-{n.lower()}</tds:{n}>" for n in names)
        if operation == "GetServices":
            offered = ("tds", "trt", "tptz", *(("tr2",) if self.media2 else ()))
            return "".join(self._service(_SPACES[p]) for p in offered)
        if operation == "GetCapabilities":
            parts = "".join(
                f"<tt:{n}><tt:XAddr>{self._xaddr}</tt:XAddr></tt:{n}>" for n in ("Device", "Media", "PTZ")
            )
            return f"<tds:Capabilities>{parts}</tds:Capabilities>"
        if operation == "GetSystemDateAndTime":
            return _date_and_time()
        if operation == "GetProfiles":
            return "".join(_profile_xml(t, p) for t, p in self.profiles.items())
        if operation == "GetStreamUri" and token in self.profiles and not self.media2:
            return f"<trt:MediaUri><tt:Uri>{self.profiles[token].url}</tt:Uri></trt:MediaUri>"
        if operation == "GetGeoLocation" and self.place:
            lon, lat = self.place
            return f'<tds:Location Entity="cam"><tt:GeoLocation lon="{lon}" lat="{lat}" elevation="4"/></tds:Location>'
        if operation == "GetPresets":
            return "".join(
                f'<tptz:Preset token="{t}"><tt:Name>{n}</tt:Name>{_position("PTZPosition", p)}</tptz:Preset>'
                for t, n, p in self.presets
            )
        if operation == "GetStatus" and self.position:
            return f"<tptz:PTZStatus>{_position('Position', self.position)}</tptz:PTZStatus>"
        if operation == "GetScopes":
            return "".join(
                f"<tds:Scopes><tt:ScopeDef>Fixed</tt:ScopeDef><tt:ScopeItem>{s}</tt:ScopeItem></tds:Scopes>"
                for s in _SCOPES
            )
        return None

    def _media2(self, operation: str, fields: dict[str, str]) -> str | None:
        token = fields.get("ProfileToken", "")
        if operation == "GetProfiles" and self.media2:
            return "".join(_profile2_xml(t, p, "Type" in fields) for t, p in self.profiles.items())
        if operation == "GetStreamUri" and token in self.profiles and self.media2:
            return f"<tr2:Uri>{self.profiles[token].url}</tr2:Uri>"
        return None

    def _service(self, namespace: str) -> str:
        version = "<tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version>"
        return (
            f"<tds:Service><tds:Namespace>{namespace}</tds:Namespace>"
            f"<tds:XAddr>{self._xaddr}</tds:XAddr>{version}</tds:Service>"
        )


def _group_socket() -> socket.socket:
    """Join the discovery group on the loopback alone: no packet leaves the machine."""
    group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    group.bind((GROUP, PORT))
    member = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1"))
    group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    group.settimeout(0.2)
    return group


def _probe_match(message: str, address: str) -> bytes:
    spaces = (
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
        'xmlns:dn="http://www.onvif.org/ver10/network/wsdl"'
    )
    return (
        f'<?xml version="1.0"?><s:Envelope xmlns:s="{_SPACES["s"]}" {spaces}><s:Header>'
        f"<a:MessageID>urn:uuid:{uuid.uuid4()}</a:MessageID><a:RelatesTo>{message}</a:RelatesTo>"
        "<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</a:Action></s:Header>"
        "<s:Body><d:ProbeMatches><d:ProbeMatch><a:EndpointReference>"
        "<a:Address>urn:uuid:5f5a69c2-0000-4000-8000-00000000cafe</a:Address></a:EndpointReference>"
        f"<d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>{' '.join(_SCOPES)}</d:Scopes>"
        f"<d:XAddrs>{address}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>"
        "</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
    ).encode()


def _position(name: str, position: Position | None) -> str:
    if position is None:
        return ""
    pan, tilt, zoom = position
    return f'<tt:{name}><tt:PanTilt x="{pan}" y="{tilt}"/><tt:Zoom x="{zoom}"/></tt:{name}>'


def _handler_for(camera: OnvifCam) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = camera.answer(request)
            self.send_response(status)
            self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    return Handler


def _envelope(inner: str) -> bytes:
    return f'<?xml version="1.0"?><s:Envelope {_NS}><s:Body>{inner}</s:Body></s:Envelope>'.encode()


def _fault(code: str, text: str) -> str:
    subcode = f"<s:Subcode><s:Value>{code}</s:Value></s:Subcode>"
    reason = f'<s:Reason><s:Text xml:lang="en">{text}</s:Text></s:Reason>'
    return f"<s:Fault><s:Code><s:Value>s:Sender</s:Value>{subcode}</s:Code>{reason}</s:Fault>"


def _date_and_time() -> str:
    now = time.gmtime()
    clock = f"<tt:Hour>{now.tm_hour}</tt:Hour><tt:Minute>{now.tm_min}</tt:Minute><tt:Second>{now.tm_sec}</tt:Second>"
    day = f"<tt:Year>{now.tm_year}</tt:Year><tt:Month>{now.tm_mon}</tt:Month><tt:Day>{now.tm_mday}</tt:Day>"
    utc = f"<tt:UTCDateTime><tt:Time>{clock}</tt:Time><tt:Date>{day}</tt:Date></tt:UTCDateTime>"
    kind = "<tt:DateTimeType>NTP</tt:DateTimeType><tt:DaylightSavings>false</tt:DaylightSavings>"
    return f"<tds:SystemDateAndTime>{kind}{utc}</tds:SystemDateAndTime>"


def _profile2_xml(token: str, profile: SimulatedProfile, typed: bool) -> str:
    """Describe a profile; its encoder only to whom names the type (Media2 Service Specification, GetProfiles)."""
    encoder = (
        f'<tr2:VideoEncoder token="ve" GovLength="50" Profile="Main"><tt:Name>ve</tt:Name>'
        f"<tt:UseCount>1</tt:UseCount><tt:Encoding>{profile.codec}</tt:Encoding><tt:Resolution>"
        f"<tt:Width>{profile.width}</tt:Width><tt:Height>{profile.height}</tt:Height></tt:Resolution>"
        '<tt:RateControl ConstantBitRate="true"><tt:FrameRateLimit>25</tt:FrameRateLimit>'
        "<tt:BitrateLimit>2048</tt:BitrateLimit></tt:RateControl><tt:Quality>4</tt:Quality>"
        "</tr2:VideoEncoder>"
    )
    configurations = encoder if typed and profile.codec else ""
    return (
        f'<tr2:Profiles token="{token}" fixed="true"><tr2:Name>{token}</tr2:Name>'
        f"<tr2:Configurations>{configurations}</tr2:Configurations></tr2:Profiles>"
    )


def _profile_xml(token: str, profile: SimulatedProfile) -> str:
    if profile.codec != "H264":
        return f'<trt:Profiles token="{token}" fixed="true"><tt:Name>{token}</tt:Name></trt:Profiles>'
    xml = f"""<trt:Profiles token="{token}" fixed="true"><tt:Name>{token}</tt:Name>
      <tt:VideoSourceConfiguration token="vs"><tt:Name>vs</tt:Name><tt:UseCount>1</tt:UseCount>
        <tt:SourceToken>v0</tt:SourceToken>
        <tt:Bounds x="0" y="0" width="{profile.width}" height="{profile.height}"/>
      </tt:VideoSourceConfiguration>
      <tt:VideoEncoderConfiguration token="ve"><tt:Name>ve</tt:Name><tt:UseCount>1</tt:UseCount>
        <tt:Encoding>H264</tt:Encoding>
        <tt:Resolution><tt:Width>{profile.width}</tt:Width><tt:Height>{profile.height}</tt:Height></tt:Resolution>
        <tt:Quality>4</tt:Quality>
        <tt:RateControl><tt:FrameRateLimit>25</tt:FrameRateLimit><tt:EncodingInterval>1</tt:EncodingInterval>
          <tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl>
        <tt:H264><tt:GovLength>50</tt:GovLength><tt:H264Profile>Main</tt:H264Profile></tt:H264>
      </tt:VideoEncoderConfiguration></trt:Profiles>"""
    return re.sub(r">\s+<", "><", xml)
