"""What /metrics tells."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Counts:
    """A registry of its own: two applications may live in one process."""

    def __init__(self):
        self.registry = CollectorRegistry()
        made = {"registry": self.registry}
        self.requests = Counter("fundus_diag_requests", "Requests.", ["path", "status"], **made)
        self.seconds = Histogram("fundus_diag_seconds", "Seconds to an answer.", ["path"], **made)
        self.rows = Counter("fundus_diag_rows", "Rows, by whether they are gradable.", ["gradable"],
                            **made)  # fmt: skip
        self.waiting = Gauge("fundus_diag_waiting", "Requests that wait.", **made)

    def took(self, request, status, seconds):
        route = request.scope.get("route")
        path = getattr(route, "path", "other")  # never what somebody wrote there
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def answered(self, errors):
        for error in () if errors is None else errors:
            self.rows.labels("no" if error else "yes").inc()

    def text(self, waiting):
        """The answer to /metrics; `waiting`: requests that wait."""
        self.waiting.set(waiting)
        return generate_latest(self.registry)
