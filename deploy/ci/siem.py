"""What ships for stores: for Elasticsearch and OpenSearch `load.sh` brings every file to its place, and both are told the same; the
detections for ClickHouse find what they must; Loki's rules and Splunk's app are read by their makers' tools.

That the stores take every kind of line is for `cargo xtask test` (`stores.py`).
"""

import http.server
import json
import pathlib
import subprocess
import threading

import clickhouse
import loki
import splunk

SIEM = pathlib.Path(__file__).resolve().parent.parent / "siem"


class Broken(Exception):
    """A check that found something."""


def load(engine):
    """What load.sh says to a server that takes everything, by path."""
    said = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            said[self.path] = self.rfile.read(int(self.headers["content-length"])).decode(), self.headers["authorization"]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = ["sh", SIEM / "load.sh", engine, f"http://127.0.0.1:{server.server_port}", "--header", "authorization: ApiKey x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    server.shutdown()
    if done.returncode != 0:
        raise Broken(f"load.sh {engine}: {done.stderr}")
    files = {path.read_text(): path.name for path in (SIEM / engine).iterdir()}
    for path, (body, key) in said.items():
        if body not in files or key != "ApiKey x":
            raise Broken(f"load.sh {engine}: {path} is given no file that ships, or no authorization: {body[:100]}")
    if missing := files.keys() - {body for body, _ in said.values()}:
        raise Broken(f"load.sh {engine} leaves out {[files[one] for one in missing]}")
    return {path: json.loads(body) for path, (body, _) in said.items()}


def fields(mappings, path=""):
    """Every field with its type."""
    for name, inner in mappings.get("properties", {}).items():
        at = f"{path}.{name}" if path else name
        if "properties" in inner:
            yield from fields(inner, at)
        else:
            yield at, inner["type"]


def check_mappings():
    elastic, search = load("elastic"), load("opensearch")
    words = {"flattened": "flat_object"}
    counts = []
    for part in ["mappings", "mappings.ecs"]:
        path = f"/_component_template/flowlog-{part}"
        one, other = [dict(fields(said[path]["template"]["mappings"])) for said in (elastic, search)]
        same = {name: words.get(kind, kind) for name, kind in one.items() if name != "@timestamp"}
        # Of ECS Elasticsearch has the rest itself.
        wanted = {name: kind for name, kind in other.items() if part == "mappings" or name.startswith("flowlog.")}
        if same != wanted:
            raise Broken(f"{part}: Elasticsearch and OpenSearch differ in {dict(same.items() ^ wanted.items())}")
        counts.append(len(other))
    for said in (elastic, search):
        known = {path.rsplit("/", 1)[1] for path in said if path.startswith("/_component_template/")} | {"ecs@mappings"}
        used = set()
        for path, body in said.items():
            if path.startswith("/_index_template/"):
                used |= set(body["composed_of"])
        if used - known or known - used - {"ecs@mappings"}:
            raise Broken(f"index templates: of {sorted(known)} they name {sorted(used)}")
    settings = elastic["/_component_template/flowlog-settings"]["template"]["settings"]
    pipeline = elastic["/_index_template/logs-flowlog"]["template"]["settings"]["index.default_pipeline"]
    for path in [f"/_ilm/policy/{settings['index.lifecycle.name']}", f"/_ingest/pipeline/{pipeline}"]:
        if path not in elastic:
            raise Broken(f"load.sh elastic: nothing is put at {path}, which a template names")
    return counts


def check(out, appinspect, packages):
    """What there is, in words."""
    try:
        own, ecs = check_mappings()
        found, (hits, misses) = clickhouse.check(out)
        rules, fields = loki.check(packages), splunk.check(out, appinspect)
    except (clickhouse.Broken, loki.Broken, splunk.Broken) as broken:
        raise Broken(str(broken)) from None
    return (f"{own} fields mapped, {ecs} of ECS; {found} detections in ClickHouse, each finds its own of {hits} and none of {misses};"
            f" {rules} rules for Loki; {fields}")
