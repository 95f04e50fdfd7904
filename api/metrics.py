"""Prometheus metrics of one replica, in a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """Counters and histograms; labels hold routes and statuses, never ids."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "curbwatch_http_request_seconds",
            "Time to answer a request.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.alerts = Counter(
            "curbwatch_alerts_total", "Alert messages by outcome.", ("outcome",), registry=self.registry
        )
        self.evidence_bytes = Counter(
            "curbwatch_evidence_bytes_total", "Bytes of evidence stored.", registry=self.registry
        )
        self.evidence_refused = Counter(
            "curbwatch_evidence_refused_total",
            "Refused uploads by status.",
            ("status",),
            registry=self.registry,
        )
        self.chain_faults = Counter(
            "curbwatch_chain_faults_total",
            "Alert messages whose signed link was missing, wrong or out of its chain.",
            registry=self.registry,
        )
        self.verdicts = Counter(
            "curbwatch_verdicts_total",
            "Verdicts by kind and reason.",
            ("kind", "reason"),
            registry=self.registry,
        )
        self.inspections = Counter(
            "curbwatch_inspections_total", "Reports of looks by result.", ("result",), registry=self.registry
        )
        self.callouts = Counter(
            "curbwatch_callouts_total", "Reports of call-outs by state.", ("state",), registry=self.registry
        )
        self.reports = Counter(
            "curbwatch_reports_total", "Reports by others, by channel.", ("channel",), registry=self.registry
        )
        self.queue = Gauge("curbwatch_queue_cases", "Cases that wait for a reviewer.", registry=self.registry)
        self.queue_age = Gauge(
            "curbwatch_queue_oldest_seconds", "Age of the oldest waiting case.", registry=self.registry
        )
        self.overdue = Gauge(
            "curbwatch_cases_overdue", "Open cases past their deadline.", registry=self.registry
        )
        self.cameras = Gauge("curbwatch_cameras", "Cameras by state.", ("state",), registry=self.registry)
        self.camera_views = Gauge(
            "curbwatch_camera_views",
            "Cameras of boxes that are heard of, by what the view check says.",
            ("view",),
            registry=self.registry,
        )
        self.camera_events = Counter(
            "curbwatch_camera_events_total",
            "Views that became bad, or fit again, by what they are now.",
            ("view",),
            registry=self.registry,
        )
        self.hooks = Gauge(
            "curbwatch_webhook_deliveries", "Webhook deliveries by state.", ("state",), registry=self.registry
        )
        self.city = Gauge(
            "curbwatch_city_requests",
            "Cases at the city's Open311 endpoint by state: due, dead.",
            ("state",),
            registry=self.registry,
        )
        self.streams = Gauge("curbwatch_event_streams", "Open live feeds.", registry=self.registry)
        self.logins = Counter(
            "curbwatch_logins_total", "Logins by outcome.", ("outcome",), registry=self.registry
        )

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)
