"""Dashboard and alert rules ask for what a gateway exposes, in a language that Prometheus reads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.declared import SCRAPED, declared
from tests.service.twistd import ROOT

Tool = Callable[[str], str]

PROMETHEUS = ROOT / "packaging" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "packaging" / "grafana" / "nbdgateway.json").read_text()
)

_METRIC = re.compile(r"\b(nbdgw_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def panels() -> list[tuple[str, str]]:
    """Title and expression of each query of the dashboard."""
    return [
        (panel["title"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]


def rules() -> list[tuple[str, str]]:
    """Name and text of each alert rule."""
    text = (PROMETHEUS / "alerts.yml").read_text()
    parts = re.split(r"^ +- alert: (\w+)$", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def variables() -> list[tuple[str, str]]:
    """Name and query of each choice above the dashboard."""
    return [
        (one["name"], one["query"]["query"])
        for one in DASHBOARD["templating"]["list"]
        if one["type"] == "query"
    ]


@pytest.mark.parametrize(("where", "text"), [*panels(), *rules(), *variables()])
def test_every_metric_exists_and_has_the_labels_that_are_asked_for(where: str, text: str) -> None:
    """A name that nobody exposes is a graph that is always empty, and an alert that never comes."""
    exposed = declared()
    for name, matchers in _METRIC.findall(text):
        assert name in exposed, f"{where}: {name}"
        assert set(_MATCHER.findall(matchers)) <= exposed[name] | SCRAPED, f"{where}: {name}"
    grouped = {
        label.strip()
        for labels in re.findall(r"\bby \(([^)]*)\)", text)
        for label in labels.split(",")
    }
    has = set.union(set(), *(exposed[name] for name, _ in _METRIC.findall(text)))
    assert grouped <= has | SCRAPED, where
    shown = set(re.findall(r"\$labels\.(\w+)", text))
    assert shown <= has | SCRAPED, where


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_every_legend_is_made_of_labels_that_are_left(panel: dict[str, Any]) -> None:
    """What a sum took away cannot name a line."""
    for target in panel["targets"]:
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        groups = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        if groups:
            left = {label.strip() for label in groups[0].split(",")}
        else:
            exposed = declared()
            left = set.union(set(), *(exposed[name] for name, _ in _METRIC.findall(target["expr"])))
        assert shown <= left, target["legendFormat"]


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    """Grafana takes whatever it is given."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_prometheus_reads_the_rules(tool: Tool) -> None:
    """By its own checker."""
    command = [tool("promtool"), "check", "rules", str(PROMETHEUS / "alerts.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should_and_not_before(tool: Tool) -> None:
    """Series made up, time played through by Prometheus itself."""
    command = [tool("promtool"), "test", "rules", "alerts_test.yml"]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_every_query_of_the_dashboard(tool: Tool, tmp_path: Path) -> None:
    """As rules that record it."""
    queries = [
        expr.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$export", ".*")
        for _, expr in panels()
    ]
    recorded = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(queries)]
    file = tmp_path / "dashboard.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    command = [tool("promtool"), "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_the_scrape_job(tool: Tool, tmp_path: Path) -> None:
    """With the rules beside it."""
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    job = (PROMETHEUS / "scrape.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(f"rule_files: [alerts.yml]\n{job}")
    command = [tool("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
