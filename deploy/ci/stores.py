"""Stores that take records, by what ships for them: OpenSearch's templates in osmem (an OpenSearch of its own, in memory),
ClickHouse's table in chDB (the server's engine in a library). DuckDB reads the files of all three formats.

Serves both for an agent's outputs and says where, as JSON: {"opensearch": URL, "clickhouse": URL}. Then it reads commands, one
a line, as JSON: {"load": [OWN, ECS]} files for both stores; {"count": [OWN, ECS, OCSF]} asks everything. It answers each with
a line: what was refused, or the counts.
"""

import http.server
import json
import pathlib
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import chdb.session
import duckdb
import osmem_server

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
SIEM = DEPLOY / "siem"
OWN, ECS = "logs-flowlog-test", "logs-flowlog.ecs-test"
BULK = 500


class Refused(Exception):
    """What a store did not take."""


def statements(name):
    """What stands in a file of SQL, statement by statement."""
    text = (DEPLOY / "clickhouse" / name).read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [one for one in code.split(";\n") if one.strip()]


def strict(mapping):
    """The same, and a key that it does not have refuses the line: nothing is left out of it unseen."""
    if isinstance(mapping, dict):
        return {key: "strict" if key == "dynamic" else strict(inner) for key, inner in mapping.items()}
    return mapping


class OpenSearch:
    def __init__(self):
        self.server = osmem_server.OsmemServer.start()
        self.url = self.server.url.rstrip("/")
        for part in ["settings", "mappings", "mappings.ecs"]:
            body = strict(json.loads((SIEM / "opensearch" / f"component-{part}.json").read_text()))
            # Malformed is refused here, too: it would be kept, and not found.
            body["template"].get("settings", {}).pop("index.mapping.ignore_malformed", None)
            self.ask("PUT", f"_component_template/flowlog-{part}", body)
        for part in ["", ".ecs"]:
            body = json.loads((SIEM / "opensearch" / f"index-template{part}.json").read_text())
            # osmem has no data streams: an index of that name.
            del body["data_stream"]
            self.ask("PUT", f"_index_template/logs-flowlog{part}", body)
            self.ask("PUT", f"logs-flowlog{part}-test")

    def ask(self, method, path, body=None):
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(f"OpenSearch, {method} {path}: {error.code} {error.read().decode()[:1000]}") from error

    def load(self, index, path):
        lines = path.read_text().splitlines()
        refused = []
        for at in range(0, len(lines), BULK):
            part = lines[at:at + BULK]
            body = "".join(f'{{"create":{{"_id":"{path.name}-{at + place}"}}}}\n{line}\n' for place, line in enumerate(part))
            for item, line in zip(self.ask("POST", f"{index}/_bulk", body.encode())["items"], part):
                if item["create"]["status"] != 201:
                    refused.append(f"{index}: {item['create']['error']}\n{line[:500]}")
        return refused

    def count(self, index, kind, group, count):
        """Sums by class, namespace and port."""
        sums = {"n": {"sum": {"field": count}}}
        for field, missing in reversed(group):
            sums = {"by": {"terms": {"field": field, "size": 1000, "missing": missing}, "aggs": sums}}
        self.ask("POST", f"{index}/_refresh")
        told = self.ask("POST", f"{index}/_search", {"size": 0, "query": {"term": {kind: "flow"}}, "aggs": sums})
        found = {}
        for one in told["aggregations"]["by"]["buckets"]:
            for two in one["by"]["buckets"]:
                for three in two["by"]["buckets"]:
                    found["/".join(str(at["key"]) for at in (one, two, three))] = int(three["n"]["value"])
        return found

    def total(self, index):
        self.ask("POST", f"{index}/_refresh")
        return self.ask("GET", f"{index}/_count")["count"]


class ClickHouse:
    """The engine, behind as much of the server's HTTP interface as takes an insertion: its query and settings are in the URL."""

    def __init__(self):
        self.session, self.lock = chdb.session.Session(), threading.Lock()
        for statement in statements("records.sql"):
            self.query(statement)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
                try:
                    outer.insert(asked.pop("query"), asked, body)
                    status, said = 200, b""
                except RuntimeError as error:
                    status, said = 500, str(error).encode()[:1000]
                    print(error, file=sys.stderr)
                self.send_response(status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        self.front = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.front.server_port}"
        threading.Thread(target=self.front.serve_forever, daemon=True).start()

    def query(self, text):
        with self.lock:
            return self.session.query(text, "JSONCompact").data()

    def insert(self, query, settings, body):
        into, form = query.rsplit(" FORMAT ", 1)
        # Single values, as the server takes them in a URL.
        told = "".join(f"{', ' if number else ' SETTINGS '}{name} = '{value}'" for number, (name, value) in enumerate(settings.items()))
        self.query(f"{into}{told} FORMAT {form}\n{body}")

    def count(self):
        rows = json.loads(self.query(
            "SELECT class, if(source.namespace = '', '-', source.namespace), ifNull(destination.port, -1), toUInt64(sum(flow.count))"
            " FROM flowlog_records FINAL WHERE kind = 'flow' GROUP BY ALL SETTINGS output_format_json_quote_64bit_integers = 0"))
        return {"/".join(map(str, row[:3])): row[3] for row in rows["data"]}

    def total(self):
        return int(json.loads(self.query("SELECT count() FROM flowlog_records"))["data"][0][0])


# How the URL of an output says it, and how a file goes in.
INSERT = "INSERT INTO flowlog_records FORMAT JSONEachRow"
SETTINGS = {"date_time_input_format": "best_effort"}
# A key that the table does not have is an error.
STRICT = {"input_format_skip_unknown_fields": "0", "input_format_json_ignore_unknown_keys_in_named_tuple": "0"}

# Where each format has class, source's namespace, destination's port, count, kind.
PLACES = {
    "flowlog": ["class", "source.namespace", "destination.port", "flow.count", "kind"],
    "ecs": ["event.action", "flowlog.source.namespace", "destination.port", "flowlog.flow.count", "flowlog.kind"],
    "ocsf": ["unmapped.flowlog.class", "unmapped.flowlog.source.namespace", "dst_endpoint.port", "count", "unmapped.flowlog.kind"],
}


def by_duckdb(path, places):
    """DuckDB finds the columns by itself."""
    name, namespace, port, count, kind = places
    rows = duckdb.connect().execute(
        f"SELECT {name}, coalesce({namespace}, '-'), coalesce({port}, -1), sum({count})"
        f" FROM read_json(?, format = 'newline_delimited', sample_size = -1) WHERE {kind} = 'flow' GROUP BY ALL", [str(path)]).fetchall()
    return {"/".join(map(str, row[:3])): int(row[3]) for row in rows}


def terms(places):
    return [(places[0], "-"), (places[1], "-"), (places[2], -1)]


def count(search, house, files):
    own, ecs = PLACES["flowlog"], PLACES["ecs"]
    return {
        "duckdb": {name: by_duckdb(path, places) for (name, places), path in zip(PLACES.items(), files)},
        "opensearch": {"flowlog": search.count(OWN, own[4], terms(own), own[3]), "ecs": search.count(ECS, ecs[4], terms(ecs), ecs[3])},
        "clickhouse": house.count(),
        "lines": {"opensearch": search.total(OWN), "opensearch ecs": search.total(ECS), "clickhouse": house.total()},
    }


def load(search, house, own, ecs):
    refused = search.load(OWN, own) + search.load(ECS, ecs)
    try:
        house.insert(INSERT, SETTINGS | STRICT, own.read_text())
    except RuntimeError as error:
        refused.append(f"ClickHouse: {error}")
    return {"refused": refused, "lines": {"opensearch": search.total(OWN), "opensearch ecs": search.total(ECS), "clickhouse": house.total()}}


def main():
    search, house = OpenSearch(), ClickHouse()
    query = urllib.parse.urlencode({"query": INSERT} | SETTINGS, quote_via=urllib.parse.quote)
    print(json.dumps({"opensearch": search.url, "clickhouse": f"{house.url}/?{query}"}), flush=True)
    for line in sys.stdin:
        [(what, files)] = json.loads(line).items()
        files = [pathlib.Path(file) for file in files]
        print(json.dumps({"load": load, "count": lambda *all: count(*all[:2], all[2:])}[what](search, house, *files)), flush=True)
    search.server.close()


if __name__ == "__main__":
    main()
