"""Flow logs summed up by flowlog, held against two engines that are not ours: DuckDB over the same lines, and what
`deploy/clickhouse` has ClickHouse (chDB: the server's engine in a library) make of them.

The lines are written here, from what `docs/log-format.md` says of them.
"""

import json
import pathlib
import random
import subprocess

import duckdb

CLICKHOUSE = pathlib.Path(__file__).resolve().parent.parent / "clickhouse"

SIDES = [
    {"decision": "allow", "basis": "unselected", "tier": "default"},
    {"decision": "deny", "basis": "isolated", "tier": "namespace",
     "policies": [{"kind": "NetworkPolicy", "namespace": "shop", "name": "deny \"all\""}]},
    {"decision": "allow", "basis": "policy", "tier": "namespace",
     "policies": [{"kind": "NetworkPolicy", "namespace": "shop", "name": "web", "rule": 0},
                  {"kind": "NetworkPolicy", "namespace": "shop", "name": "web", "rule": 2}]},
    {"decision": "unknown", "basis": "unknown", "reason": "an end is not known"},
]


def moment(number):
    return f"2026-11-30T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:03}000000Z"


def pod(pick, labels):
    name = pick.choice(["web", "db", "päpér \"x\""])
    end = {"kind": "pod", "ip": f"10.0.0.{pick.randrange(1, 9)}", "port": pick.randrange(30000, 60000), "namespace": "shop",
           "pod": f"{name}-{pick.randrange(3)}"}
    if name != "db":
        end["workload"] = {"kind": "Deployment", "name": name}
    # Of one workload at one time they are what they are: which of two records of the same moment is the last is not known.
    end["labels"] = {"app": name, "version": labels}
    end["namespace_labels"] = {"kubernetes.io/metadata.name": "shop"}
    if pick.random() < 0.5:
        end["container"], end["image"] = "main", f"registry.example.com/{name}:1"
        end["image_digest"] = "sha256:" + "0" * 64
    return end


def elsewhere(pick):
    kind = pick.choice(["pod", "pod", "external", "service", "node", "unknown", "local"])
    port = pick.choice([53, 443])
    if kind == "pod":
        return None
    end = {"kind": kind}
    if kind != "local":
        end["ip"] = f"198.51.100.{pick.randrange(1, 7)}"
    end["port"] = port
    if kind == "service":
        end |= {"namespace": "shop", "service": {"namespace": "shop", "name": pick.choice(["cart", "db"]), "port_name": "http"}}
    if kind == "node":
        end["node"] = f"worker-{pick.randrange(2)}"
    if kind == "external" and pick.random() < 0.5:
        end["names"] = [{"name": pick.choice(["api.vendor.example", "cdn.example"]), "canonical": "x.example", "from": "dns_answer",
                         "age_ms": pick.randrange(100_000), "ttl_s": pick.randrange(300)}]
    if kind == "external" and pick.random() < 0.3:
        end["network"] = "office"
    if kind == "unknown":
        end["reason"] = "nobody knows it"
    return end


def log(seed, count):
    """Records of two runs, with updates of what was told before; a few in another spelling."""
    pick = random.Random(seed)
    seqs, held, lines = {"r1": 0, "r2": 0}, [], []
    for number in range(count):
        run = pick.choice(list(seqs))
        seqs[run] += 1
        time = moment(number)
        mine = [one for one in held if one[0] == run]
        if mine and pick.random() < 0.2:
            one = pick.choice(mine)
            held.remove(one)
            record = json.loads(json.dumps(one[1]))
            record["flow"] |= {"count": 0, "last": time, "update": True}
            state = pick.choice(["dropped", "rejected", "established", record["outcome"]["state"]])
            if record["outcome"]["state"] == "established":
                state = "established"
                record["flow"] |= {"duration_ms": 5, "bytes_sent": pick.randrange(9999), "bytes_received": pick.randrange(9999)}
            elif state not in ("established",) and pick.random() < 0.5:
                held.append((run, record))
            record["outcome"]["state"] = state
        else:
            destination = elsewhere(pick)
            if destination is None:
                destination = pod(pick, str(number))
                destination["port"] = pick.choice([53, 443])
            egress, ingress = pick.choice(SIDES), SIDES[0]
            state = pick.choice(["established", "established", "pending", "dropped", "sent", "answered"])
            record = {
                "v": 1, "seq": 0, "kind": "flow", "time": time, "node": "n1", "cluster": "prod", "run": run,
                "flow": {"id": f"{number:032x}", "direction": pick.choice(["egress", "egress", "ingress"]),
                         "protocol": pick.choice(["tcp", "tcp", "tcp", "udp"]), "family": "ipv4", "count": pick.choice([1, 1, 1, 7]),
                         "first": time, "last": time},
                "source": pod(pick, str(number)), "destination": destination,
                "verdict": {"decision": "deny" if "deny" in (egress["decision"], ingress["decision"]) else "allow",
                            "egress": egress, "ingress": ingress, "snapshot": 1 + number // 50, "as_of": time},
                "outcome": {"state": state, "evidence": ["none"]},
                "class": pick.choice(["allowed", "denied_attempt"]), "severity": "low",
            }
            if destination["kind"] == "pod" and pick.random() < 0.4:
                record["dialed"] = {"ip": "10.96.0.1", "port": 80, "service": {"namespace": "shop", "name": "cart"}}
            if pick.random() < 0.7:
                record["process"] = {"pid": number, "comm": "curl", "cgroup_id": 9}
            held.append((run, record))
        record |= {"seq": seqs[run], "time": time}
        order = ["v", "seq", "kind", "time", "node", "cluster", "run", "flow", "source", "destination", "dialed", "process",
                 "verdict", "outcome", "class", "severity"]
        if pick.random() < 0.1:
            lines.append(json.dumps(record))
        else:
            ordered = {name: record[name] for name in order if name in record}
            lines.append(json.dumps(ordered, separators=(",", ":"), ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)


def by_flowlog(agent, *paths):
    told = subprocess.run([agent, "edges", "--logs", *paths], check=True, capture_output=True, text=True)
    return told.stdout


def end_of(end):
    """An end as far as it tells edges apart, as a list."""
    kind, workload, service = end["kind"], end.get("workload") or {}, end.get("service") or {}
    names = end.get("names") or [{}]
    place = {
        "pod": [end.get("namespace"), workload.get("kind", "Pod"), workload.get("name", end.get("pod"))],
        "service": [service.get("namespace"), "Service", service.get("name")],
        "node": [end.get("node"), None, None],
        "external": [end.get("ip"), names[0].get("name"), end.get("network")],
        "unknown": [end.get("ip"), None, None],
        "local": [None, None, None],
    }[kind]
    return [kind, *place, end.get("container"), end.get("image")]


def edges_of(text):
    """Edges as flowlog writes them, as a mapping of what tells them apart to what is summed up."""
    found = {}
    for line in text.splitlines():
        edge = json.loads(line)
        flow, verdict = edge["flow"], edge["verdict"]
        service = (edge.get("dialed") or {}).get("service") or edge["destination"].get("service") or {}
        sides = [[verdict[side]["decision"], verdict[side]["basis"], verdict[side].get("policies") or []]
                 for side in ("egress", "ingress")]
        key = [end_of(edge["source"]), end_of(edge["destination"]), edge["destination"].get("port"), service.get("namespace"),
               service.get("name"), flow["direction"], flow["protocol"], edge["class"], edge["outcome"]["state"],
               verdict["decision"], sides]
        sums = [flow["count"], flow["first"], flow["last"], flow.get("bytes_sent", 0), flow.get("bytes_received", 0)]
        found[json.dumps(key, sort_keys=True)] = sums
    return found


def sql_end(end):
    at = f"j->'{end}'"
    text = f"{at}->>"
    return f"""[{text}'kind',
        CASE {text}'kind' WHEN 'pod' THEN {text}'namespace' WHEN 'service' THEN {text}'$.service.namespace'
            WHEN 'node' THEN {text}'node' WHEN 'local' THEN NULL ELSE {text}'ip' END,
        CASE {text}'kind' WHEN 'pod' THEN coalesce({text}'$.workload.kind', 'Pod') WHEN 'service' THEN 'Service'
            WHEN 'external' THEN {text}'$.names[0].name' END,
        CASE {text}'kind' WHEN 'pod' THEN coalesce({text}'$.workload.name', {text}'pod')
            WHEN 'service' THEN {text}'$.service.name' WHEN 'external' THEN {text}'network' END,
        {text}'container', {text}'image']"""


def sql_side(side):
    at = f"j->'verdict'->'{side}'"
    return f"json_array({at}->>'decision', {at}->>'basis', coalesce({at}->'policies', '[]'::JSON))"


BY_DUCKDB = f"""
WITH read AS (SELECT json AS j FROM read_json_objects(?, format = 'newline_delimited')),
lines AS (
    SELECT DISTINCT ON (j->>'node', j->>'run', j->>'seq')
        json_array({sql_end('source')}, {sql_end('destination')}, j->'destination'->'port',
            coalesce(j->>'$.dialed.service.namespace', j->>'$.destination.service.namespace'),
            coalesce(j->>'$.dialed.service.name', j->>'$.destination.service.name'),
            j->>'$.flow.direction', j->>'$.flow.protocol', j->>'class', j->>'$.outcome.state', j->>'$.verdict.decision',
            json_array({sql_side('egress')}, {sql_side('ingress')}))::VARCHAR AS key,
        j->>'$.flow.id' AS id, (j->>'seq')::BIGINT AS seq, j->>'$.outcome.state' AS state,
        coalesce((j->>'$.flow.update')::BOOLEAN, false) AS update, (j->>'$.flow.count')::BIGINT AS count,
        j->>'$.flow.first' AS first, j->>'$.flow.last' AS last,
        coalesce((j->>'$.flow.bytes_sent')::BIGINT, 0) AS sent, coalesce((j->>'$.flow.bytes_received')::BIGINT, 0) AS received
    FROM read WHERE j->>'kind' = 'flow'),
changes AS (
    SELECT *, row_number() OVER (PARTITION BY id ORDER BY seq DESC) = 1 AS latest, bool_or(NOT update) OVER (PARTITION BY id) AS begun,
        count(*) OVER (PARTITION BY id) > 1 AS changed
    FROM lines WHERE update OR (count > 0 AND state NOT IN ('established', 'answered'))),
moved AS (
    SELECT key, sum(latest::INT - (NOT update)::INT) AS count, -sum((NOT latest)::INT) AS lines
    FROM changes WHERE begun AND changed GROUP BY key),
edges AS (
    SELECT key, sum(count) AS count, count(*) AS lines, min(first) AS first, max(last) AS last, sum(sent) AS sent,
        sum(received) AS received
    FROM lines GROUP BY key)
SELECT e.key, e.count + coalesce(m.count, 0), first, last, sent, received
FROM edges e LEFT JOIN moved m USING (key)
WHERE e.count + coalesce(m.count, 0) > 0 OR e.lines + coalesce(m.lines, 0) > 0
"""


def by_duckdb(path):
    rows = duckdb.connect().execute(BY_DUCKDB, [str(path)]).fetchall()
    return {json.dumps(json.loads(key), sort_keys=True): [int(count), first, last, int(sent), int(received)]
            for key, count, first, last, sent, received in rows}


def statements(name):
    """What stands in a file of SQL, statement by statement."""
    text = (CLICKHOUSE / name).read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [one for one in code.split(";\n") if one.strip()]


def by_clickhouse(path):
    # Hundreds of megabytes, for this alone.
    import chdb.session

    session = chdb.session.Session()
    try:
        for statement in statements("tables.sql"):
            session.query(statement)
        session.query(f"INSERT INTO flowlog_lines SELECT * FROM file('{path}', JSONEachRow)"
                      " SETTINGS input_format_skip_unknown_fields = 1")
        [query] = statements("edges.sql")
        return session.query(query, "TSVRaw").data()
    finally:
        session.close()


def differences(one, other):
    return [f"{key}: {one.get(key)} and {other.get(key)}" for key in sorted(one.keys() | other.keys())
            if one.get(key) != other.get(key)]


def check(out, agent):
    """What does not agree, in words; and how much was compared."""
    agent = agent.resolve()
    wrong, counts = [], [0, 0]
    for seed in range(4):
        path = (out / f"edges-{seed}.json").resolve()
        path.write_text(log(seed, 1_500))
        told = by_flowlog(agent, path)
        ours = edges_of(told)
        wrong += [f"seed {seed}, flowlog and DuckDB: {one}" for one in differences(ours, by_duckdb(path))]
        summed = (out / f"edges-{seed}.clickhouse.json").resolve()
        summed.write_text(by_clickhouse(path))
        # Read again: what ClickHouse tells of labels counts, too.
        if (again := by_flowlog(agent, summed)) != told:
            found = differences(edges_of(again), ours) or ["the same sums, and other labels"]
            wrong += [f"seed {seed}, ClickHouse and flowlog: {one}" for one in found]
        counts = [counts[0] + 1_500, counts[1] + len(ours)]
    return wrong, counts
