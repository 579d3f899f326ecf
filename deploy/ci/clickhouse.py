"""Runs the detections for ClickHouse over the records that they must find, and those that they must not: the same as those of the
Sigma rules."""

import json
import pathlib
import re
import sys

import chdb.session
import stores
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).with_name("detections")))
import cases as tried  # noqa: E402


class Broken(Exception):
    """A check that found something."""


def read_queries():
    """Each statement by the name before it."""
    text = (stores.DEPLOY / "clickhouse" / "detections.sql").read_text()
    return dict(re.findall(r"^-- (\w+)\n((?:(?!--).*\n)+)", text, re.MULTILINE))


def check(out):
    """How many detections there are, and over how many sets of records each did as it must."""
    queries, cases = read_queries(), yaml.safe_load(tried.CASES.read_text())
    names = {name.partition(",")[0] for name in cases["detections"]}
    if queries.keys() != names:
        raise Broken(f"detections.sql: {sorted(queries.keys() ^ names)} stand in it or in cases.yaml alone")
    session = chdb.session.Session()
    try:
        for statement in stores.statements("records.sql"):
            session.query(statement)
        counts = [0, 0]
        for name, case in cases["detections"].items():
            for must, change in tried.tries(case):
                lines = "\n".join(json.dumps(one) for one in tried.records(cases["bases"], case, change))
                session.query("TRUNCATE TABLE flowlog_records")
                settings = ", ".join(f"{key} = '{value}'" for key, value in stores.SETTINGS.items())
                session.query(f"INSERT INTO flowlog_records SETTINGS {settings} FORMAT JSONEachRow\n{lines}")
                query = queries[name.partition(",")[0]]
                rows = json.loads(session.query(query.rstrip().rstrip(";"), "JSONCompact").data())["rows"]
                if bool(rows) != must:
                    raise Broken(f"{name} {'does not find' if must else 'finds'} its record with {change}:\n{query}")
                counts[not must] += 1
        return len(queries), counts
    except RuntimeError as error:
        raise Broken(f"ClickHouse: {error}") from None
    finally:
        session.close()
