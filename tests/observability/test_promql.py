"""The check of queries finds what it is for: without this its silence would prove nothing."""

import pytest

from tests.observability.promql import Series, faults, live

SERIES: dict[str, Series] = {
    "requests_count": [{"route": "/a", "status": "200"}, {"route": "/b", "status": "503"}],
    "requests_bucket": [{"route": "/a", "le": "1.0"}],
}


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(rate(request_count[5m]))", "no metric request_count"),
        ('{__name__=~"requests.*"}', "no metric None"),
        ('requests_count{path="/a"}', "requests_count has no label path"),
        ('requests_count{path!="/a"}', "requests_count has no label path"),
        ('requests_count{status="200", le="1.0"}', "requests_count has no label le"),
        ('requests_count{status="500"}', 'no series requests_count{status="500"}'),
        ('requests_count{status=~"4.."}', 'no series requests_count{status=~"4.."}'),
        ('requests_count{status=~"20"}', 'no series requests_count{status=~"20"}'),
        ('requests_count{route="/a", status="503"}', "no series requests_count"),
        ('requests_count{route!~"/.*"}', "no series requests_count"),
        ("sum by (method) (requests_count)", "nothing has the label method"),
        ("sum without (method) (requests_count)", "nothing has the label method"),
        ("requests_count / on (method) requests_count", "nothing has the label method"),
        ("requests_count / ignoring (method) requests_count", "nothing has the label method"),
        (
            "requests_count / on (job) group_left (version) requests_count",
            "nothing has the label version",
        ),
        ("requests_count and requests_total", "no metric requests_total"),
        ("absent(requests_total)", "no metric requests_total"),
        ("max_over_time(requests_total[1h:5m])", "no metric requests_total"),
        ("time()", "it selects nothing"),
    ],
)
def test_a_fault_is_found(query: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(query, SERIES))


@pytest.mark.parametrize(
    "query",
    [
        'sum by (route, namespace) (rate(requests_count{job="x", status=~"5..|200"}[5m]))',
        'histogram_quantile(0.9, sum by (le) (rate(requests_bucket{route!="/b"}[5m])))',
        'requests_count{status="503"} / ignoring (status) group_left () requests_count{route="/b"}',
    ],
)
def test_what_exists_is_no_fault(query: str) -> None:
    assert faults(query, SERIES) == []


def test_what_is_no_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        faults("sum(requests_count", SERIES)


def test_a_label_that_prometheus_would_rename_does_not_count_as_the_application_s() -> None:
    scrape = 'build_info{service="x",version="1"} 1.0\n'
    assert live(scrape)["build_info"] == [{"version": "1"}]
