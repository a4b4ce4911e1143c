"""Parser of metrics files, as Prometheus parses them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[str, dict[tuple[str, ...], float]]
"""Values by metric name and labels, the account first."""


def parse(content: str) -> Samples:
    """The samples of a text in Prometheus' format."""
    samples: Samples = {}
    for family in text_string_to_metric_families(content):
        for sample in family.samples:
            labels = dict(sample.labels)
            samples.setdefault(sample.name, {})[(labels.pop("account"), *labels.values())] = sample.value
    return samples
