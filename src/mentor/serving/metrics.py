"""What Prometheus reads at /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)


class Metrics:
    """One server's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("mentor_requests", "Requests answered", ("route", "status"), registry=self.registry)
        self.request_seconds = Histogram(
            "mentor_request_seconds",
            "From a request to the end of its answer",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.pictures = Counter("mentor_pictures", "Pictures drawn", registry=self.registry)
        self.failures = Counter("mentor_failed_pictures", "Pictures whose drawing failed", registry=self.registry)
        self.failed_in_a_row = Gauge(
            "mentor_failed_batches_in_a_row", "Failed batches since the last that did not", registry=self.registry
        )
        self.waiting = Gauge("mentor_waiting_pictures", "Pictures that wait to be drawn", registry=self.registry)
        self.batch_pictures = Histogram(
            "mentor_batch_pictures",
            "Pictures drawn side by side",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "mentor_batch_seconds", "Seconds a batch took", buckets=_SECONDS, registry=self.registry
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
