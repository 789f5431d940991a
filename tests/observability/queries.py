"""The queries of a dashboard, with its variables as Grafana fills them in."""

import re
from typing import Any

#: "All" of a variable, and the intervals that Grafana computes.
ALL = {
    "env": ".*",
    "namespace": ".*",
    "pod": ".*",
    "__rate_interval": "10s",
}


def fill(dashboard: dict[str, Any], text: str) -> str:
    """Put the values of the variables in; an unknown one is a KeyError."""
    constants = {
        each["name"]: each["query"]
        for each in dashboard["templating"]["list"]
        if each["type"] == "constant"
    }
    return re.sub(r"\$(\w+)", lambda found: (ALL | constants)[found[1]], text)


def panel_queries(dashboard: dict[str, Any]) -> list[tuple[str, str]]:
    """The PromQL of every panel and annotation, with the title of each."""
    targets = [
        (panel["title"], target)
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    targets += [(each["name"], each) for each in dashboard["annotations"]["list"]]
    return [
        (title, fill(dashboard, target["expr"]))
        for title, target in targets
        if target["datasource"]["type"] == "prometheus"
    ]
