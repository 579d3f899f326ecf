"""Holds dashboard and alerts against the metrics that there are, and against promtool.

No Grafana is here: the dashboard is looked at as a file, and each of its expressions is read by Prometheus's own parser. What
metrics there are, with their labels, stands in `docs/operating.md`, which is made from the code.
"""

import json
import pathlib
import re
import subprocess

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
DASHBOARDS = DEPLOY / "dashboards"
DOCS = DEPLOY.parent / "docs"

# What scraping adds to every series, and Prometheus's own metric of targets.
TARGET_LABELS = {"job", "instance"}
FOREIGN = {"up": set()}

# Words of PromQL that are no metric and no function.
KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}

# Grafana's own variables, as they may come.
VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$job": ".*", "$instance": ".*"}

# Units are Grafana's names for them.
UNITS = {"short", "ops", "s", "bytes", "Bps", "percentunit", "none"}


class Broken(Exception):
    """A check that found something."""


def read_metrics():
    """Every metric with its labels, as documented."""
    table = (DOCS / "operating.md").read_text().split("<!-- metrics -->")[1]
    found = {}
    for name, labels in re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE):
        found[name] = set(re.findall(r"`(\w+)`", labels))
    return found


def check_expression(place, text, metrics):
    """Every metric is there and has the labels that are asked for; a counter is only looked at as it grows."""
    used, labels = set(), set()
    bare = text
    for inner in re.findall(r"\{([^{}]*)\}", re.sub(r'"[^"]*"', '""', bare)):
        labels |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inner))
    bare = re.sub(r'"[^"]*"', "", bare)
    bare = re.sub(r"\{[^{}]*\}", "", bare)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    for inner in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", bare):
        labels |= set(re.findall(r"\w+", inner))
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    for word, call in re.findall(r"\b([a-zA-Z_]\w*)\b(\s*\()?", bare):
        if not call and word not in KEYWORDS:
            used.add(word)
    known = metrics | FOREIGN
    if unknown := used - known.keys():
        raise Broken(f"{place}: no metric of the agent: {sorted(unknown)}")
    if not used:
        raise Broken(f"{place}: {text} names no metric")
    had = TARGET_LABELS.union(*[known[one] for one in used])
    if unknown := labels - had:
        raise Broken(f"{place}: no label of {sorted(used)}: {sorted(unknown)}")
    for counter in [one for one in used if one.endswith("_total")]:
        if len(re.findall(rf"\b{counter}\b", bare)) != len(re.findall(rf"\b(?:rate|increase)\(\s*{counter}\b", bare)):
            raise Broken(f"{place}: {counter} is a counter: what counts is its rate or increase")
    return had


def run(promtool, *words):
    done = subprocess.run([promtool, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"promtool {' '.join(map(str, words))}:\n{done.stdout}{done.stderr}")


def check_alerts(promtool, metrics):
    path, tests = DASHBOARDS / "alerts.yaml", DASHBOARDS / "alerts.test.yaml"
    [group] = yaml.safe_load(path.read_text())["groups"]
    told = (DOCS / "siem.md").read_text()
    for rule in group["rules"]:
        name = rule["alert"]
        check_expression(name, rule["expr"], metrics)
        if rule["labels"].get("severity") not in {"critical", "warning", "info"}:
            raise Broken(f"{name}: its severity is {rule['labels']}")
        if set(rule["annotations"]) != {"summary", "description"}:
            raise Broken(f"{name}: its annotations are {sorted(rule['annotations'])}")
        if f"| `{name}` |" not in told:
            raise Broken(f"docs/siem.md says nothing of {name}")
    run(promtool, "check", "rules", path)
    tried = set()
    for test in yaml.safe_load(tests.read_text())["tests"]:
        for one in test["alert_rule_test"]:
            tried.add((one["alertname"], bool(one["exp_alerts"])))
        for series in test["input_series"]:
            check_expression(f"{tests.name}: {test['name']}", f"rate({series['series']})", metrics)
    if lacking := {(rule["alert"], fires) for rule in group["rules"] for fires in (True, False)} - tried:
        raise Broken(f"alerts without a test that raises them (True), or does not: {sorted(lacking)}")
    run(promtool, "test", "rules", tests)
    return len(group["rules"])


def check_places(panels):
    """From left to right and from top to bottom, none on another."""
    taken, before = set(), (-1, -1)
    for panel in panels:
        at = panel["gridPos"]
        if (at["y"], at["x"]) <= before or at["x"] + at["w"] > 24:
            raise Broken(f"{panel['title']}: its place {at} is out of order, or beyond the edge")
        before = (at["y"], at["x"])
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if cells & taken:
            raise Broken(f"{panel['title']}: it lies on another")
        taken |= cells


def check_panel(panel, metrics):
    """The expressions of a panel."""
    title = panel["title"]
    unit = panel["fieldConfig"]["defaults"].get("unit")
    if unit not in UNITS or len(panel.get("description", "")) < 20 or not panel["targets"]:
        raise Broken(f"{title}: unit {unit!r}, description {panel.get('description')!r}, {len(panel['targets'])} targets")
    if len({one["refId"] for one in panel["targets"]}) != len(panel["targets"]):
        raise Broken(f"{title}: two targets of one name")
    for target in panel["targets"]:
        had = check_expression(title, target["expr"], metrics)
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        summed = re.search(r"\b(?:sum|max|count)(?: by \(([^)]*)\))?\s*\(", target["expr"])
        left = set(re.findall(r"\w+", summed[1] or "")) if summed else had
        if shown - left:
            raise Broken(f"{title}: its legend shows {sorted(shown)}, there is {sorted(left)}")
        yield target["expr"]


def check_dashboard(out, promtool, metrics):
    board = json.loads((DASHBOARDS / "flowlog.json").read_text())
    if board["schemaVersion"] < 39 or "id" in board or not board["uid"]:
        raise Broken("the dashboard: a schema of Grafana 10.3 or later, a uid, and no id of one installation")
    ids = [panel["id"] for panel in board["panels"]]
    titles = [panel["title"] for panel in board["panels"]]
    if len(set(ids)) != len(ids) or len(set(titles)) != len(titles):
        raise Broken("the dashboard: two panels of one id or title")
    variables = {one["name"]: one for one in board["templating"]["list"]}
    if list(variables)[0] != "datasource" or variables["datasource"]["type"] != "datasource":
        raise Broken("the dashboard: its first variable is the data source")
    if set(re.findall(r'"type": "prometheus", "uid": "([^"]*)"', json.dumps(board))) != {"${datasource}"}:
        raise Broken("the dashboard: a data source that is no variable")
    check_places(board["panels"])
    expressions = [one for panel in board["panels"] if panel["type"] != "row" for one in check_panel(panel, metrics)]
    for name, one in variables.items():
        if one["type"] == "query":
            [selector, label] = re.fullmatch(r"label_values\((.*), (\w+)\)", one["query"]["query"]).groups()
            if label not in check_expression(f"variable {name}", selector, metrics):
                raise Broken(f"variable {name}: {selector} has no {label}")
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    if unknown := used - variables.keys() - {"__rate_interval", "__range"}:
        raise Broken(f"the dashboard: no variable {sorted(unknown)}")
    rules = []
    for number, text in enumerate(expressions):
        for name, value in VARIABLES.items():
            text = text.replace(name, value)
        rules.append({"record": f"dashboard:{number}", "expr": text})
    path = out / "dashboard-rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", path)
    return sum(panel["type"] != "row" for panel in board["panels"]), len(expressions)


def check(out, promtool, exposed):
    """What there is, in words; `exposed` are the metrics that an agent gave."""
    metrics = read_metrics()
    # OpenMetrics names families without these.
    families = {re.sub("_(total|info)$", "", name) for name in metrics}
    if unknown := {re.sub("_(total|info)$", "", name) for name in exposed} - families:
        raise Broken(f"docs/operating.md does not have {sorted(unknown)}")
    alerts = check_alerts(promtool, metrics)
    panels, expressions = check_dashboard(out, promtool, metrics)
    return f"{alerts} alerts, each raised and not; {panels} panels with {expressions} expressions"
