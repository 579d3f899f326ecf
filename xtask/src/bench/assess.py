"""What DuckDB takes to sum up flow logs, one thread: the CPU seconds of the query alone, and its groups, as JSON.

`sums` groups what the lines say, with just the members that it needs; `edges` gives the same answer as flowlog: lines that are
there twice count once, and what became of an attempt later changes what was told first.
"""

import json
import pathlib
import sys
import time

import duckdb

sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "deploy/ci"))
import edges  # noqa: E402

END = """STRUCT(kind VARCHAR, ip VARCHAR, port INTEGER, namespace VARCHAR, pod VARCHAR, workload STRUCT(kind VARCHAR, name VARCHAR),
    service STRUCT(namespace VARCHAR, name VARCHAR), node VARCHAR, container VARCHAR, image VARCHAR, network VARCHAR,
    names STRUCT(name VARCHAR)[], origin VARCHAR, vendor VARCHAR)"""
SIDE = """STRUCT(decision VARCHAR, basis VARCHAR,
    policies STRUCT(kind VARCHAR, namespace VARCHAR, name VARCHAR, rule INTEGER)[])"""
COLUMNS = {
    "kind": "VARCHAR",
    "flow": "STRUCT(direction VARCHAR, protocol VARCHAR, count BIGINT, first VARCHAR, last VARCHAR, bytes_sent BIGINT,"
            " bytes_received BIGINT)",
    "source": END,
    "destination": END,
    "dialed": "STRUCT(service STRUCT(namespace VARCHAR, name VARCHAR))",
    "verdict": f"STRUCT(decision VARCHAR, egress {SIDE}, ingress {SIDE})",
    "outcome": "STRUCT(state VARCHAR)",
    "class": "VARCHAR",
}


def end(name):
    """What tells ends apart: the pod's own name and address do not, where it has a workload."""
    return f"""{name}.kind, {name}.namespace, coalesce({name}.workload.name, {name}.pod), {name}.workload.kind, {name}.service,
        CASE WHEN {name}.kind = 'node' THEN {name}.node END, {name}.container, {name}.image, {name}.network, {name}.names[1].name, {name}.origin, {name}.vendor,
        CASE WHEN {name}.kind IN ('external', 'unknown') THEN {name}.ip END"""


COLUMNS_SQL = ", ".join(f"{name}: '{' '.join(kind.split())}'" for name, kind in COLUMNS.items())
SUMS = f"""
SELECT {end('source')}, {end('destination')}, destination.port, dialed, flow.direction, flow.protocol, class, outcome.state, verdict,
    sum(flow.count), min(flow.first), max(flow.last), sum(flow.bytes_sent), sum(flow.bytes_received)
FROM read_json(?, format = 'newline_delimited', columns = {{{COLUMNS_SQL}}}) WHERE kind = 'flow' GROUP BY ALL
"""


def main(query, *files):
    connection = duckdb.connect()
    connection.execute("SET threads = 1; SET preserve_insertion_order = false")
    begun = time.process_time()
    groups = len(connection.execute({"sums": SUMS, "edges": edges.BY_DUCKDB}[query], [list(files)]).fetchall())
    print(json.dumps({"cpu_s": time.process_time() - begun, "groups": groups, "version": duckdb.__version__}))


main(*sys.argv[1:])
