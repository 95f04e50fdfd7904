"""The box's metrics page: http://127.0.0.1:PORT/metrics in Prometheus' text format. Off unless a port is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from camera_adapters.meter import METER
from camera_adapters.stream import StreamState
from contract import View
from edge.health import camera_health
from edge.outbox import Level
from edge.uplink import UplinkCounts
from edge.view_log import ViewLog
from edge.worker import Worker


class BoxCollector(Collector):
    """Reads the box when it is asked, so that counting costs nothing in between."""

    def __init__(
        self, worker: Worker, level: Callable[[], Level], sent: UplinkCounts, views: ViewLog
    ) -> None:
        self._worker, self._level, self._sent, self._views = worker, level, sent, views

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the box; labels hold camera ids, never addresses."""
        stages = CounterMetricFamily(
            "curbwatch_edge_stage_cpu_seconds", "CPU seconds by stage", labels=["stage"]
        )
        for stage, seconds in METER.seconds().items():
            stages.add_metric([stage], seconds)
        yield stages
        yield from self._cameras()
        load = self._worker.load()
        yield GaugeMetricFamily("curbwatch_edge_stretch", "Factor on all sampling intervals", load.stretch)
        yield GaugeMetricFamily("curbwatch_edge_overloaded", "1 while overloaded", float(load.overloaded))
        yield CounterMetricFamily("curbwatch_edge_overloads", "Overloads since the start", load.overloads)
        yield CounterMetricFamily(
            "curbwatch_edge_frames_left_out",
            "Key frames that were due and not decoded because others waited",
            self._worker.left_out,
        )
        age = GaugeMetricFamily(
            "curbwatch_edge_detection_age_seconds", "Age of pictures at detection", labels=["quantile"]
        )
        for quantile, value in (
            ("0.5", load.age_p50_s),
            ("0.95", load.age_p95_s),
            ("0.99", load.age_p99_s),
        ):
            age.add_metric([quantile], value)
        yield age
        yield from self._outbox()

    def _outbox(self) -> Iterator[Metric]:
        level, sent = self._level(), self._sent
        for name, text, value in (
            ("outbox_alerts", "Alerts that wait", level.alerts),
            ("outbox_alerts_high_water", "Most alerts that waited since the start", level.high_water_alerts),
            ("outbox_files", "Evidence files that wait", level.files),
            ("outbox_bytes_high_water", "Most bytes that waited since the start", level.high_water_bytes),
            ("outbox_oldest_seconds", "Age of what has waited longest", level.oldest_s),
        ):
            yield GaugeMetricFamily(f"curbwatch_edge_{name}", text, value)
        held = GaugeMetricFamily("curbwatch_edge_outbox_bytes", "Bytes that wait", labels=["kind"])
        for kind, size in zip(("picture", "clip", "sealed"), level.bytes_of, strict=True):
            held.add_metric([kind], size)
        yield held
        for name, text, value in (
            (
                "outbox_dropped_files",
                "Files let go unsent, by quota, age or the API's word",
                level.dropped_files,
            ),
            ("uplink_alerts", "Messages acknowledged", sent.alerts),
            ("uplink_files", "Files acknowledged", sent.files),
            ("uplink_bytes", "Bytes of files acknowledged", sent.bytes),
            ("uplink_failures", "Times that the API was away or busy", sent.failures),
            ("uplink_refused", "Messages and files that the API would not have", sent.refused),
        ):
            yield CounterMetricFamily(f"curbwatch_edge_{name}", text, value)

    def _cameras(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "curbwatch_edge_camera_state", "1 for the state that holds", labels=["camera", "state"]
        )
        view = GaugeMetricFamily(
            "curbwatch_edge_camera_view", "1 for what the view check says", labels=["camera", "view"]
        )
        eyes = GaugeMetricFamily(
            "curbwatch_edge_camera_looks_at", "1 for the stream that is judged", labels=["camera", "stream"]
        )
        decoder = GaugeMetricFamily(
            "curbwatch_edge_camera_decoder", "1 for what decodes it", labels=["camera", "decoder"]
        )
        counts = {
            name: CounterMetricFamily(f"curbwatch_edge_{name}", text, labels=["camera"])
            for name, text in (
                ("frames_decoded", "Decoded pictures"),
                ("frames_judged", "Pictures that the detector and the rules saw"),
                ("frames_dropped", "Pictures replaced before the detector had time"),
                ("frames_tainted", "Damaged pictures, not judged"),
                ("connects", "Connections"),
                ("view_events", "Times that a view became bad, or fit again"),
            )
        }
        for lane in self._worker.lanes:
            camera, frames = lane.camera.id, lane.pipeline.counters()
            health = camera_health(lane, self._worker.dropped(camera), None)
            for each in StreamState:
                state.add_metric([camera, each.value], float(health.state == each.value))
            for word in get_args(View):
                view.add_metric([camera, word], float(lane.pipeline.view == word))
            eyes.add_metric([camera, health.looks_at], 1.0)
            decoder.add_metric([camera, health.decoder], 1.0)
            counts["frames_decoded"].add_metric([camera], health.frames_decoded)
            counts["frames_judged"].add_metric([camera], frames.judged)
            counts["frames_dropped"].add_metric([camera], health.frames_dropped)
            counts["frames_tainted"].add_metric([camera], frames.tainted)
            counts["connects"].add_metric([camera], sum(s.health().connects for s in lane.streams))
            counts["view_events"].add_metric([camera], self._views.count(camera))
        yield state
        yield view
        yield eyes
        yield decoder
        yield from counts.values()


def serve(
    port: int, worker: Worker, level: Callable[[], Level], sent: UplinkCounts, views: ViewLog
) -> Callable[[], None]:
    """Serve the page on the loopback alone and return what ends it.

    Raises:
        OSError: the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(BoxCollector(worker, level, sent, views))
    server, thread = start_http_server(port, "127.0.0.1", registry)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5)

    return end
