"""What Prometheus may ask."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Measures:
    """The counters of one server."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self):
        registry = self.registry = CollectorRegistry()
        self.requests = Counter("deepfake_requests", "Requests answered", ["route", "status"], registry=registry)
        self.verdicts = Counter("deepfake_verdicts", "Images judged", ["verdict"], registry=registry)
        self.decoding = Histogram(
            "deepfake_decode_seconds", "Opening an image", buckets=_SECONDS, registry=registry
        )  # fmt: skip
        self.judging = Histogram(
            "deepfake_inference_seconds", "Judging an opened image", buckets=_SECONDS, registry=registry
        )
        self.in_hand = Gauge("deepfake_uploads_in_hand", "Uploads that a thread works on", registry=registry)
        self.waiting = Gauge("deepfake_queue_depth", "Uploads in hand that wait for their turn", registry=registry)
        self.batches = Histogram(
            "deepfake_batch_size", "Images judged at once", buckets=(1, 2, 4, 8, 12, 16), registry=registry
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)
