"""Reads the rules for Loki by Grafana's own parser of LogQL, and holds their fields against the schema. No Loki runs them."""

import json
import pathlib
import re
import subprocess

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
LOKI = DEPLOY / "siem" / "loki"
# What is made of lines before the rules, and few values have.
LABELS = {"job", "node", "kind", "class", "severity"}
MOST = {"low"}


class Broken(Exception):
    """A check that found something."""


def paths(schema):
    """Every field as `| json` names it, with its cardinality. Lists it leaves out."""
    def resolve(node):
        while "$ref" in node or "anyOf" in node:
            node = (schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node
                    else next(one for one in node["anyOf"] if one.get("type") != "null"))
        return node

    def walk(node, path):
        for name, inner in resolve(node).get("properties", {}).items():
            at = f"{path}_{name}" if path else name
            found[at] = inner.get("x-cardinality", found.get(at))
            walk(inner, at)

    found = {}
    for kind in schema["oneOf"]:
        walk(kind, "")
    return found


def check(packages):
    """How many rules there are."""
    [group] = yaml.safe_load((LOKI / "rules.yaml").read_text())["groups"]
    known = paths(json.loads((DEPLOY / "schema" / "flowlog.v1.schema.json").read_text()))
    for label in LABELS - {"job", "kind"}:
        if known.get(label) not in MOST and label != "class" and label != "severity":
            raise Broken(f"label {label}: its cardinality is {known.get(label)}")
    expressions = [rule["expr"] for rule in group["rules"]]
    lines = "".join(json.dumps(one) + "\n" for one in expressions)
    done = subprocess.run(["node", pathlib.Path(__file__).with_name("logql.js"), packages], input=lines, capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"logql.js: {done.stderr}")
    for rule, line in zip(group["rules"], done.stdout.splitlines(), strict=True):
        found, name = json.loads(line), rule["alert"]
        if found["errors"]:
            raise Broken(f"{name}: no LogQL near {found['errors']}")
        if unknown := set(found["labels"]) - LABELS:
            raise Broken(f"{name}: no label {sorted(unknown)}")
        made = set(re.findall(r"label_format (\w+)=", rule["expr"]))
        named = set(found["fields"]) | set(re.findall(r"\.(\w+)", " ".join(re.findall(r"`[^`]*`", rule["expr"]))))
        if unknown := named - known.keys() - made:
            raise Broken(f"{name}: no record has {sorted(unknown)}")
    detections = {path.stem for path in (DEPLOY / "detections").glob("*.yml")}
    if lacking := detections ^ {rule["alert"] for rule in group["rules"]}:
        raise Broken(f"rules.yaml: {sorted(lacking)} stand in it or in deploy/detections alone")
    for name in ["alloy.alloy", "vector.yaml"]:
        text = (LOKI / name).read_text()
        if missing := [label for label in LABELS if not re.search(rf"\b{label}\b", text)]:
            raise Broken(f"{name} makes no label of {missing}")
    yaml.safe_load((LOKI / "vector.yaml").read_text())
    return len(expressions)
