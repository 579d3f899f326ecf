"""Runs every detection over records that it must find and records that it must not: `cargo xtask deploy` runs this.

Sigma rules are turned into SQL by pySigma and run by DuckDB, neither of which is ours; queries beside them run as they are. Every
record is valid by the schema, and what must not be found differs from what must in one field. What a rule names has to be in
the schema: a field that no record has would never be missed.
"""

import argparse
import json
import pathlib
import re

import convert
import duckdb
import jsonschema
import yaml
from cases import CASES, records, tries
from sigma.collection import SigmaCollection
from sigma.rule import SigmaRule
from sigma.types import SigmaBool, SigmaFieldReference, SigmaNumber, SigmaString
from sigma.validation import SigmaValidator
from sigma.validators.core import validators
from sigma_backend_duckdb import DuckDBBackend

DEPLOY = pathlib.Path(__file__).resolve().parents[2]
RULES = DEPLOY / "detections"
KINDS = {"integer": "BIGINT", "boolean": "BOOLEAN", "number": "DOUBLE"}

# These fetch lists of tags.
FETCHING = {"attacktag", "d3_fendtag"}


class Wrong(Exception):
    """A check that found something."""


class Backend(DuckDBBackend):
    """As the backend is, but for what it lacks: time windows, and `not` of a field that is absent."""

    groupby_expression = {"default": "PARTITION BY {fields}"}
    value_sum_correlation_query = value_count_correlation_query = event_count_correlation_query = {
        "default": "SELECT DISTINCT {select_fields} FROM (SELECT *{aggregate} OVER ({groupby} ORDER BY \"time\" RANGE BETWEEN"
                   " INTERVAL {timespan} SECONDS PRECEDING AND CURRENT ROW) AS told FROM ({search})) WHERE {condition}"}
    event_count_aggregation_expression = {"default": ", count(*)"}
    value_sum_aggregation_expression = {"default": ", sum({field})"}
    value_count_aggregation_expression = {"default": ", count(DISTINCT {field})"}
    event_count_condition_expression = value_sum_condition_expression = value_count_condition_expression = {
        "default": "told {op} {count}"}
    # Its single wildcard is a letter of ours, and one of its `LIKE`.
    wildcard_single = "\0"

    def convert_condition_not(self, cond, state):
        return f"NOT coalesce({self.convert_condition(cond.args[0], state)}, false)"


class Schema:
    """What records may say."""

    def __init__(self, text):
        self.whole = json.loads(text)
        self.validator = jsonschema.Draft202012Validator(self.whole)
        self.fields = {}
        for one in self.whole["oneOf"]:
            self.walk(one, "")

    def walk(self, node, path):
        """Every path to a value, with the values that it may have where these are few."""
        node = self.resolve(node)
        for name, inner in node.get("properties", {}).items():
            self.walk(inner, f"{path}.{name}" if path else name)
        if "items" in node:
            self.walk(node["items"], f"{path}[0]")
        if path and "properties" not in node:
            kinds = node.get("type", "string")
            kind = next((one for one in [kinds] if isinstance(one, str)), None) or next(one for one in kinds if one != "null")
            words = {node["const"]} if "const" in node else set(node.get("enum", [])) - {None}
            words |= {one["const"] for one in node.get("oneOf", []) if "const" in one}
            _, known = self.fields.get(path, (kind, set()))
            self.fields[path] = (kind, known | words)

    def resolve(self, node):
        while True:
            if "$ref" in node:
                node = self.whole["$defs"][node["$ref"].rsplit("/", 1)[1]]
            elif "anyOf" in node:
                node = next(one for one in node["anyOf"] if one.get("type") != "null")
            else:
                return node

    def check(self, name, record):
        for error in self.validator.iter_errors(record):
            best = jsonschema.exceptions.best_match([error])
            raise Wrong(f"{name}: no record by the schema: {best.message} at {best.json_path}")


def load(connection, schema, path, query):
    """A table with a column for each field that the query names, by its path."""
    columns = ", ".join(
        f"""(j->>'$.{field}')::{'TIMESTAMP' if field == 'time' else KINDS.get(kind, 'VARCHAR')} AS "{field}\""""
        for field, (kind, _) in schema.fields.items() if field == "time" or field in query)
    connection.execute(
        f"CREATE OR REPLACE TABLE logs AS SELECT {columns} FROM"
        " (SELECT json AS j FROM read_json_objects($1, format = 'newline_delimited'))", [str(path)])


def items(detection):
    for one in detection.detection_items:
        yield from items(one) if hasattr(one, "detection_items") else [one]


def check_words(schema, place, rule):
    """Every field is one of the schema's, and every value one that it may have."""
    def check(field, values=()):
        if field not in schema.fields:
            raise Wrong(f"{place}: no record has a field {field}")
        kind, words = schema.fields[field]
        for value in values:
            if isinstance(value, SigmaFieldReference):
                check(value.field)
                continue
            plain = value.to_plain()
            if not isinstance(value, {"integer": SigmaNumber, "boolean": SigmaBool}.get(kind, SigmaString)):
                raise Wrong(f"{place}: {field} is {kind}, and never {plain!r}")
            elif words and plain not in words:
                raise Wrong(f"{place}: {field} is never {plain!r}, but one of {sorted(words)}")

    if isinstance(rule, SigmaRule):
        for detection in rule.detection.detections.values():
            for item in items(detection):
                check(item.field, item.value)
        services = {"flow", "finding", "loss", "agent", None}
        if rule.logsource.product != "flowlog" or rule.logsource.service not in services:
            raise Wrong(f"{place}: its log source is {rule.logsource}")
    else:
        for field in [*(rule.group_by or []), rule.condition.fieldref]:
            if field is not None:
                check(field)


def read_rules(schema):
    """The detections by name, each as something to run."""
    found, all_rules = {}, SigmaCollection([])
    for path in sorted(RULES.glob("*.yml")):
        collection = SigmaCollection.load_ruleset([path])
        for rule in collection.rules:
            check_words(schema, path.name, rule)
            if not (rule.description and rule.falsepositives and rule.level and rule.tags and rule.author and rule.date):
                raise Wrong(f"{path.name}: {rule.title} lacks a part")
        all_rules.rules += collection.rules
        # Of a rule that another counts, nothing comes by itself.
        [found[path.stem]] = Backend().convert(collection)
    told = SigmaValidator({one for name, one in validators.items() if name not in FETCHING}).validate_rules(all_rules)
    if told:
        raise Wrong("\n".join(str(one) for one in told))
    for path in sorted(RULES.glob("*.sql")):
        found[path.stem] = path.read_text()
        if unknown := set(re.findall(r"'\$\.([^']+)'", found[path.stem])) - schema.fields.keys():
            raise Wrong(f"{path.name}: no record has {unknown}")
    return found


def check_case(connection, schema, query, place, bases, name, case):
    """How many records were found as they must be, and how many were not."""
    for must, change in tries(case):
        if len(change) > 1:
            raise Wrong(f"{name}: {change} are several fields")
        made = records(bases, case, change)
        for record in made:
            schema.check(f"{name} with {change}", record)
        if change and made == records(bases, case, {}):
            raise Wrong(f"{name}: {change} changes nothing")
        place.write_text("".join(json.dumps(one) + "\n" for one in made))
        load(connection, schema, place, query)
        connection.execute("SET VARIABLE logs = $1", [str(place)])
        found = connection.execute(query).fetchall()
        if bool(found) != must:
            raise Wrong(f"{name} {'does not find' if must else 'finds'} its record with {change}:\n{query}")
    return len(case["also"]) + 1, len(case["miss"])


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=pathlib.Path, required=True)
    options.add_argument("--write", action="store_true", help="write the table of converters into docs/siem.md")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        schema = Schema((DEPLOY / "schema" / "flowlog.v1.schema.json").read_text())
        rules, cases = read_rules(schema), yaml.safe_load(CASES.read_text())
        connection = duckdb.connect()
        counts, tested = [0, 0], set()
        for name, case in cases["detections"].items():
            rule = name.partition(",")[0]
            tested.add(rule)
            found = check_case(connection, schema, rules[rule], given.out / "detections.json", cases["bases"], name, case)
            counts = [one + more for one, more in zip(counts, found)]
        if tested != rules.keys():
            raise Wrong(f"without records: {rules.keys() - tested}")
        told = (DEPLOY.parent / "docs" / "siem.md").read_text()
        if untold := [name for name in rules if f"| `{name}` |" not in told and f"| `{name}.sql` |" not in told]:
            raise Wrong(f"docs/siem.md says nothing of {untold}")
        print(f"detections: {len(rules)}, each finds its own of {counts[0]} and none of {counts[1]}")
        print(f"converters: {convert.check(given.write)}")
    except (Wrong, convert.Wrong) as wrong:
        raise SystemExit(f"error: {wrong}") from None


if __name__ == "__main__":
    main()
