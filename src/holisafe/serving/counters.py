"""What Prometheus reads at `/metrics`: numbers alone, under names that requests cannot make up."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Counters:
    """One gateway's numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "holisafe_requests", "Requests by route and status", ["route", "status"], registry=self.registry
        )
        self.ended = Counter(
            "holisafe_ended", "Chat requests by what their clients got", ["how"], registry=self.registry
        )
        self.decisions = Counter(
            "holisafe_decisions", "What the policy said", ["stage", "action"], registry=self.registry
        )
        self.failures = Counter(
            "holisafe_failures", "Parts that failed, and what was done", ["part", "done"], registry=self.registry
        )
        self.unread = Counter(
            "holisafe_unread",
            "Delivered or asked without a guard that reads its kind",
            ["stage"],
            registry=self.registry,
        )
        self.in_flight = Gauge("holisafe_in_flight", "Requests being answered", registry=self.registry)
        self.seconds = Histogram(
            "holisafe_seconds", "Seconds by part", ["part"], registry=self.registry, buckets=SECONDS
        )
        self.tokens = Counter(
            "holisafe_tokens", "Tokens, as the upstream counts them", ["kind"], registry=self.registry
        )

    def page(self) -> bytes:
        return generate_latest(self.registry)
