"""Has Sigma's converter turn every detection into the words of others, holds the table in `docs/siem.md` against what comes of it, and
runs what it makes for OpenSearch over the records that must be found and those that must not. No other of these engines is here.
"""

import json
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

import osmem_server
import yaml
from cases import CASES, records, tries
from sigma.backends.elasticsearch import EqlBackend, ESQLBackend, LuceneBackend
from sigma.backends.loki import LogQLBackend
from sigma.backends.opensearch import OpensearchLuceneBackend
from sigma.backends.splunk import SplunkBackend
from sigma.collection import SigmaCollection

DEPLOY = pathlib.Path(__file__).resolve().parents[2]
DOCS = DEPLOY.parent / "docs" / "siem.md"
MARK = "<!-- sigma targets -->\n"
TARGETS = {
    "Splunk": SplunkBackend,
    "Elasticsearch, Lucene": LuceneBackend,
    "EQL": EqlBackend,
    "ES\\|QL": ESQLBackend,
    "OpenSearch, Lucene": OpensearchLuceneBackend,
    "Loki": LogQLBackend,
}


class Wrong(Exception):
    """A check that found something."""


def convert(path, backend):
    """The query, or None where the backend lacks what the rule asks for."""
    try:
        [query] = backend().convert(SigmaCollection.load_ruleset([path]))
        return query
    # A backend says by these that it lacks something; others are its faults.
    except Exception as error:
        if type(error).__name__ not in ("NotImplementedError", "SigmaFeatureNotSupportedByBackendError"):
            raise Wrong(f"{path.name}: {backend.__name__}: {error!r}") from error
        return None


def negates(path):
    """Whether a field that may be absent is negated, and whether it is compared with another."""
    text = path.read_text()
    return bool(re.search(r"condition:.*\bnot\b", text)), "|fieldref" in text


def cell(target, path, query):
    """What the table says of it."""
    if query is None:
        return "–"
    negated, compared = negates(path)
    if target == "Splunk" and negated and compared:
        if "NOT" in query:
            raise Wrong(f"{path.name}: Splunk's backend negates a comparison of fields now: say so in docs/siem.md")
        return "wrong: without the `not`"
    if target == "EQL" and "with runs=" in query:
        return "wrong: 25 times the same address"
    if target == "ES\\|QL" and negated:
        return "misses what is absent"
    return "yes"


def table(queries):
    """Rows by detection, columns by target."""
    rows = ["| detection | " + " | ".join(TARGETS) + " |", "|---" * (len(TARGETS) + 1) + "|"]
    for path, found in queries.items():
        rows.append(f"| `{path.stem}` | " + " | ".join(cell(target, path, query) for target, query in found.items()) + " |")
    return "\n".join(rows) + "\n"


class Search:
    """OpenSearch's templates, in osmem."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        body = json.loads((DEPLOY / "siem" / "opensearch" / "component-mappings.json").read_text())
        self.ask("PUT", "flowlog", body["template"])

    def ask(self, method, path, body):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Wrong(f"OpenSearch, {method} {path}: {error.read().decode()[:1000]}") from error

    def finds(self, query, made):
        self.ask("POST", "flowlog/_delete_by_query?refresh=true", {"query": {"match_all": {}}})
        lines = "".join(f'{{"index":{{}}}}\n{json.dumps(one)}\n' for one in made)
        if self.ask("POST", "flowlog/_bulk?refresh=true", lines)["errors"]:
            raise Wrong(f"OpenSearch refuses records of {made[0]['kind']}")
        query = {"query_string": {"query": query, "analyze_wildcard": True}}
        return self.ask("POST", "flowlog/_search", {"size": 0, "query": query})["hits"]["total"]["value"] > 0


def run(queries):
    """How many detections, over how many sets of records."""
    cases, counts = yaml.safe_load(CASES.read_text()), [0, 0]
    by_name = {path.stem: found["OpenSearch, Lucene"] for path, found in queries.items()}
    with osmem_server.OsmemServer.start() as server:
        search = Search(server.url)
        for name, case in cases["detections"].items():
            query = by_name.get(name.partition(",")[0])
            for must, change in tries(case) if query else []:
                if search.finds(query, records(cases["bases"], case, change)) != must:
                    raise Wrong(f"{name} {'does not find' if must else 'finds'} its record with {change} in OpenSearch:\n{query}")
                counts[not must] += 1
    return sum(query is not None for query in by_name.values()), counts


def check_command():
    """The command that docs/siem.md shows."""
    [words] = re.findall(r"^sigma (convert .*)$", DOCS.read_text(), re.MULTILINE)
    sigma = pathlib.Path(sys.executable).with_name("sigma")
    done = subprocess.run([sys.executable, sigma, *words.split()], cwd=DEPLOY.parent, capture_output=True, text=True)
    if done.returncode != 0 or 'class="policy_not_enforced"' not in done.stdout:
        raise Wrong(f"sigma {words}: {done.returncode}\n{done.stdout}{done.stderr}")


def check(write):
    """What there is, in words."""
    paths = sorted((DEPLOY / "detections").glob("*.yml"))
    queries = {path: {target: convert(path, backend) for target, backend in TARGETS.items()} for path in paths}
    told, found = DOCS.read_text(), table(queries)
    head, before, tail = told.split(MARK)
    if write:
        DOCS.write_text(MARK.join([head, found, tail]))
    elif before != found:
        raise Wrong(f"docs/siem.md: its table of converters is not as they are:\n{found}")
    check_command()
    number, (hits, misses) = run(queries)
    return f"{len(paths)} by {len(TARGETS)} converters; {number} in OpenSearch, each finds its own of {hits} and none of {misses}"
