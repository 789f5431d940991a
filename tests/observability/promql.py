"""Whether a PromQL query can find what it asks for: names, labels, values; by its syntax tree."""

import re
from collections.abc import Iterator

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

#: Of one metric, the labels of each of its series.
Series = list[dict[str, str]]

#: What a ServiceMonitor adds to every series, with `env` by its `targetLabels`. Prometheus renames
#: an application's own label that is called the same.
TARGET = ("container", "endpoint", "env", "instance", "job", "namespace", "pod", "service")


def live(text: str) -> dict[str, Series]:
    """Read the series of a scrape, and add the one that Prometheus makes for each target."""
    found: dict[str, Series] = {"up": [{}]}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in TARGET}
            found.setdefault(sample.name, []).append(labels)
    return found


def faults(query: str, series: dict[str, Series], target: tuple[str, ...] = TARGET) -> list[str]:
    """Say what a query asks for and nobody has; empty where all of it exists.

    Args:
        query: PromQL.
        series: the series that exist, by the name of their metric.
        target: labels that every series has besides.

    Raises:
        ValueError: the query is no PromQL.
    """
    return list(_faults(promql.parse(query), series, target))


def _faults(
    query: promql.Expr, series: dict[str, Series], target: tuple[str, ...]
) -> Iterator[str]:
    labels: set[str] = set(target)
    named: list[str] = []

    def visit(node: promql.Expr) -> None:
        match node:
            case promql.VectorSelector():
                selectors.append(node)
            case promql.AggregateExpr(modifier=modifier) if modifier:
                named.extend(modifier.labels)
            case promql.BinaryExpr(modifier=modifier) if modifier:
                named.extend(modifier.matching.labels if modifier.matching else [])
                named.extend(modifier.group_labels or [])

    selectors: list[promql.VectorSelector] = []
    promql.walk(query, visit)
    if not selectors:
        yield "it selects nothing"
    for selector in selectors:
        of_metric = series.get(selector.name or "")
        if of_metric is None:
            yield f"no metric {selector.name}"
            continue
        own = {label for each in of_metric for label in each}
        labels |= own
        matchers = [m for m in selector.matchers.matchers if m.name not in target]
        unknown = [m.name for m in matchers if m.name not in own]
        yield from (f"{selector.name} has no label {name}" for name in unknown)
        if not unknown and not any(all(_matches(m, each) for m in matchers) for each in of_metric):
            yield f"no series {selector}"
    yield from (f"nothing has the label {name}" for name in named if name not in labels)


def _matches(matcher: promql.Matcher, labels: dict[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    wanted: bool = matcher.op in (promql.MatchOp.Equal, promql.MatchOp.Re)
    if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):
        return (value == matcher.value) is wanted
    return bool(re.fullmatch(matcher.value, value)) is wanted
