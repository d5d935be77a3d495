"""What the service counts about itself, in a registry of its own for each app."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from app.storage.database import Database
from gyrostat.wire.messages import Acknowledgement

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Telemetry:
    """Prometheus instruments; safe to use from any thread."""

    def __init__(self) -> None:
        # Prometheus notices a restart by itself: a gauge beside each counter, of when it began, is a third of the lines
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests = Counter(
            "gyrostat_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "gyrostat_http_request_seconds",
            "Time from a request's headers to the first byte of its answer.",
            ("method", "route"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.request_bytes = Counter(
            "gyrostat_http_request_bytes", "Bytes of request bodies.", ("route",), registry=self.registry
        )
        self.commit_writes = Histogram(
            "gyrostat_commit_writes",
            "Writes that shared a commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "gyrostat_commit_seconds", "Time of a commit with its writes.", buckets=SECONDS, registry=self.registry
        )
        self.writes_waiting = Gauge("gyrostat_writes_waiting", "Writes that wait for a commit.", registry=self.registry)
        self.batches = Counter(
            "gyrostat_ingest_batches", "Batches of frames acknowledged.", ("status",), registry=self.registry
        )
        self.frames = Counter("gyrostat_ingest_frames", "Frames stored.", registry=self.registry)
        self.points = Counter("gyrostat_ingest_points", "Values stored.", registry=self.registry)
        self.viewers = Gauge("gyrostat_event_streams", "Open event streams.", registry=self.registry)
        self.notifications = Counter(
            "gyrostat_notifications",
            "Tries to notify, by what came of them.",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self.notification_seconds = Histogram(
            "gyrostat_notification_seconds",
            "Time of a try to notify.",
            ("kind",),
            buckets=SECONDS,
            registry=self.registry,
        )
        for kind in ("webhook", "email", "apprise"):
            for outcome in ("sent", "retried", "failed"):
                self.notifications.labels(kind, outcome)
        for status in ("stored", "duplicate"):
            self.batches.labels(status)
        ProcessCollector(registry=self.registry)

    def watch(self, database: Database) -> None:
        """Tells from now on how many writes the database has waiting."""
        self.writes_waiting.set_function(lambda: database.num_waiting)

    def committed(self, writes: int, seconds: float) -> None:
        """Counts a commit."""
        self.commit_writes.observe(writes)
        self.commit_seconds.observe(seconds)

    def acknowledged(self, acknowledgement: Acknowledgement) -> None:
        """Counts a batch that was answered."""
        self.batches.labels(acknowledgement.status).inc()
        if acknowledgement.status == "stored":
            self.frames.inc(acknowledgement.frames)
            self.points.inc(acknowledgement.points)
