"""What is deployed beside the exporter, and its page in the docs: what they name is exported, and the other way."""

import json
import re
from pathlib import Path

import pytest
import yaml

from als_assets.metrics.catalogue import BUCKETS_S, METRICS, Kind
from resources.settings import PROJECT, load_settings

DEPLOY = PROJECT / "deploy"
NAME = re.compile(r"\bals_[a-z_]+")
SUFFIXES = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
EXPORTED = {f"{metric.name}{suffix}" for metric in METRICS for suffix in SUFFIXES[metric.kind]}
ROW = re.compile(r"^\| `(?P<name>als_[a-z_]+)(?:\{(?P<labels>[a-z, ]+)\})?` \| (?P<kind>[a-z]+) \| (?P<meaning>.+) \|$")


def expressions(file: Path) -> list[str]:
    """Every expression in a dashboard or in a file of rules."""
    stated = json.loads(file.read_text()) if file.suffix == ".json" else yaml.safe_load(file.read_text())
    if "panels" in stated:
        return [target["expr"] for panel in stated["panels"] for target in panel["targets"]]
    return [rule["expr"] for group in stated["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("file", ["grafana/als.json", "prometheus/alerts.yml"])
def test_every_metric_that_is_named_is_exported(file: str) -> None:
    named = {name for expression in expressions(DEPLOY / file) for name in NAME.findall(expression)}
    assert named
    assert named - EXPORTED == set()


def test_the_dashboard_shows_every_metric() -> None:
    named = {name for expression in expressions(DEPLOY / "grafana" / "als.json") for name in NAME.findall(expression)}
    unseen = {metric.name for metric in METRICS if not any(name.startswith(metric.name) for name in named)}
    assert unseen == set()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in json.loads((DEPLOY / "grafana" / "als.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & seen, panel["title"]
        seen |= cells


def test_every_alert_says_what_to_do() -> None:
    stated = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    alerts = [rule for group in stated["groups"] for rule in group["rules"] if "alert" in rule]
    assert alerts
    assert [alert["alert"] for alert in alerts if {"summary", "do"} != alert["annotations"].keys()] == []


def test_prometheus_asks_where_production_serves() -> None:
    variables = {"ALS_LEDGER_URL": "sqlite://", "ALS_UI_URL": "http://ui", "GLOBUS_CLIENT_ID": "id"}
    variables |= dict.fromkeys(("SCICAT_API_URL", "SCICAT_PAGE_URL", "SCICAT_INGEST_USER", "SCICAT_PID_PREFIX"), "x")
    here = load_settings(PROJECT / "config" / "production.yaml", variables).deployment.metrics
    stated = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    [job] = stated["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"{here.address}:{here.port}"]


def test_the_docs_list_every_metric_with_its_kind_labels_and_meaning() -> None:
    lines = (PROJECT / "docs" / "metrics.md").read_text().splitlines()
    rows = [found for line in lines if (found := ROW.match(line))]
    listed = {row["name"]: (row["kind"], row["labels"] or "", row["meaning"]) for row in rows}
    assert listed == {
        f"{metric.name}{'_total' if metric.kind is Kind.COUNTER else ''}": (
            str(metric.kind),
            ", ".join(metric.labels),
            metric.meaning,
        )
        for metric in METRICS
    }


def test_names_are_as_prometheus_wants_them() -> None:
    assert [metric.name for metric in METRICS if not NAME.fullmatch(metric.name) or "_total" in metric.name] == []
    assert sorted(BUCKETS_S) == [*BUCKETS_S]
