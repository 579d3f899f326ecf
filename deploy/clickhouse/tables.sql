-- Flow records in ClickHouse, summed up as they come in. Insert the lines of flowlog as they are:
--
--   clickhouse-client --query 'INSERT INTO flowlog_lines FORMAT JSONEachRow' < flows.json
--
-- and give what edges.sql answers to `flowlog … --logs`. A line that is inserted twice counts twice here: have whatever ships
-- the lines insert each once (ClickHouse itself knows a block that is inserted again).

-- Lines come in here and are not kept: take ENGINE = MergeTree ORDER BY (node, run, seq) to keep them, too.
CREATE TABLE IF NOT EXISTS flowlog_lines
(
    v UInt32,
    seq UInt64,
    kind LowCardinality(String),
    node LowCardinality(String),
    cluster LowCardinality(String),
    run LowCardinality(String),
    flow Tuple(
        id String, direction String, protocol String, count UInt64, first String, last String, update Bool,
        bytes_sent UInt64, bytes_received UInt64),
    source Tuple(
        kind String, ip String, namespace String, pod String, workload Tuple(kind String, name String),
        service Tuple(namespace String, name String), labels Map(String, String), namespace_labels Map(String, String),
        container String, image String, image_digest String, service_account String, node String, host_network Bool,
        names Array(Tuple(name String)), network String, origin String, vendor String, sensitive Bool),
    destination Tuple(
        kind String, ip String, port Nullable(UInt16), namespace String, pod String, workload Tuple(kind String, name String),
        service Tuple(namespace String, name String), labels Map(String, String), namespace_labels Map(String, String),
        container String, image String, image_digest String, service_account String, node String, host_network Bool,
        names Array(Tuple(name String)), network String, origin String, vendor String, sensitive Bool),
    dialed Tuple(service Tuple(namespace String, name String)),
    verdict Tuple(
        decision String,
        egress Tuple(
            decision String, basis String,
            policies Array(Tuple(kind String, namespace String, name String, rule Nullable(UInt32)))),
        ingress Tuple(
            decision String, basis String,
            policies Array(Tuple(kind String, namespace String, name String, rule Nullable(UInt32))))),
    outcome Tuple(state String),
    class String,
    truncated Array(String)
)
ENGINE = Null;

-- An end as far as it tells edges apart: a member of an edge's line without its braces. What is empty is left out.
CREATE FUNCTION IF NOT EXISTS flowlog_member AS (name, value) ->
    if(value = '', '', concat(',', toJSONString(name), ':', toJSONString(value)));

CREATE FUNCTION IF NOT EXISTS flowlog_end AS (e) -> concat(
    '"kind":', toJSONString(tupleElement(e, 'kind')),
    multiIf(
        tupleElement(e, 'kind') = 'pod', concat(
            flowlog_member('namespace', tupleElement(e, 'namespace')),
            if(tupleElement(e, 'workload').2 = '',
                flowlog_member('pod', tupleElement(e, 'pod')),
                concat(',"workload":{"kind":', toJSONString(tupleElement(e, 'workload').1),
                    ',"name":', toJSONString(tupleElement(e, 'workload').2), '}'))),
        tupleElement(e, 'kind') = 'service', concat(
            ',"service":{"namespace":', toJSONString(tupleElement(e, 'service').1),
            ',"name":', toJSONString(tupleElement(e, 'service').2), '}'),
        tupleElement(e, 'kind') = 'node', flowlog_member('node', tupleElement(e, 'node')),
        concat(
            flowlog_member('ip', tupleElement(e, 'ip')),
            if(empty(tupleElement(e, 'names')), '',
                concat(',"names":[{"name":', toJSONString(tupleElement(e, 'names')[1].1), '}]')),
            flowlog_member('network', tupleElement(e, 'network')))),
    flowlog_member('container', tupleElement(e, 'container')),
    flowlog_member('image', tupleElement(e, 'image')),
    flowlog_member('origin', tupleElement(e, 'origin')),
    flowlog_member('vendor', tupleElement(e, 'vendor')));

-- What the last record of it says of an end.
CREATE FUNCTION IF NOT EXISTS flowlog_traits AS (e) -> concat(
    ',"labels":', toJSONString(tupleElement(e, 'labels')),
    ',"namespace_labels":', toJSONString(tupleElement(e, 'namespace_labels')),
    flowlog_member('image_digest', tupleElement(e, 'image_digest')),
    flowlog_member('service_account', tupleElement(e, 'service_account')),
    if(tupleElement(e, 'host_network'), ',"host_network":true', ''),
    if(tupleElement(e, 'sensitive'), ',"sensitive":true', ''));

-- What the rules said in one direction.
CREATE FUNCTION IF NOT EXISTS flowlog_side AS (s) -> concat(
    '{"decision":', toJSONString(tupleElement(s, 'decision')), ',"basis":', toJSONString(tupleElement(s, 'basis')),
    ',"policies":[', arrayStringConcat(arrayMap(p -> concat(
        '{"kind":', toJSONString(p.1), flowlog_member('namespace', p.2), ',"name":', toJSONString(p.3),
        if(isNull(p.4), '', concat(',"rule":', toString(p.4))), '}'), tupleElement(s, 'policies')), ','), ']}');

-- All that tells edges apart, but for the ends, as members of a line: its protocol and port first, for `flow` and `destination`.
CREATE FUNCTION IF NOT EXISTS flowlog_rest AS (dialed, verdict, state, class) -> concat(
    if(tupleElement(dialed, 'service').2 = '', '',
        concat(',"dialed":{"service":{"namespace":', toJSONString(tupleElement(dialed, 'service').1),
            ',"name":', toJSONString(tupleElement(dialed, 'service').2), '}}')),
    ',"verdict":{"decision":', toJSONString(tupleElement(verdict, 'decision')),
    ',"egress":', flowlog_side(tupleElement(verdict, 'egress')),
    ',"ingress":', flowlog_side(tupleElement(verdict, 'ingress')),
    '},"outcome":{"state":', toJSONString(state), '},"class":', toJSONString(class));

-- One row for each edge, as far as merges have come.
CREATE TABLE IF NOT EXISTS flowlog_edges
(
    source String,
    destination String,
    port Nullable(UInt16),
    direction LowCardinality(String),
    protocol LowCardinality(String),
    rest String,
    count SimpleAggregateFunction(sum, UInt64),
    lines SimpleAggregateFunction(sum, UInt64),
    first SimpleAggregateFunction(min, String),
    last SimpleAggregateFunction(max, String),
    bytes_sent SimpleAggregateFunction(sum, UInt64),
    bytes_received SimpleAggregateFunction(sum, UInt64),
    source_traits AggregateFunction(argMax, String, Tuple(Bool, String)),
    destination_traits AggregateFunction(argMax, String, Tuple(Bool, String))
)
ENGINE = AggregatingMergeTree
ORDER BY (source, destination, port, direction, protocol, rest)
SETTINGS allow_nullable_key = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS flowlog_to_edges TO flowlog_edges AS
SELECT
    flowlog_end(l.source) AS source,
    flowlog_end(l.destination) AS destination,
    tupleElement(l.destination, 'port') AS port,
    tupleElement(l.flow, 'direction') AS direction,
    tupleElement(l.flow, 'protocol') AS protocol,
    flowlog_rest(l.dialed, l.verdict, tupleElement(l.outcome, 'state'), l.class) AS rest,
    sum(tupleElement(l.flow, 'count')) AS count,
    count() AS lines,
    min(tupleElement(l.flow, 'first')) AS first,
    max(tupleElement(l.flow, 'last')) AS last,
    sum(tupleElement(l.flow, 'bytes_sent')) AS bytes_sent,
    sum(tupleElement(l.flow, 'bytes_received')) AS bytes_received,
    argMaxState(
        flowlog_traits(l.source),
        (NOT hasAny(l.truncated, ['labels', 'namespace_labels']), tupleElement(l.flow, 'last'))) AS source_traits,
    argMaxState(
        flowlog_traits(l.destination),
        (NOT hasAny(l.truncated, ['labels', 'namespace_labels']), tupleElement(l.flow, 'last'))) AS destination_traits
FROM flowlog_lines AS l
WHERE l.kind = 'flow' AND l.v = 1
GROUP BY source, destination, port, direction, protocol, rest;

-- Attempts of which more may be told, and what is told: by these, edges.sql moves an attempt from the edge that it was counted
-- in to the one that tells what became of it. Whatever is older than a few minutes may go once edges.sql has been asked.
CREATE TABLE IF NOT EXISTS flowlog_changes
(
    id String,
    told Tuple(String, UInt64),
    began Bool,
    source String,
    destination String,
    port Nullable(UInt16),
    direction LowCardinality(String),
    protocol LowCardinality(String),
    rest String
)
ENGINE = MergeTree
ORDER BY (id, told);

CREATE MATERIALIZED VIEW IF NOT EXISTS flowlog_to_changes TO flowlog_changes AS
SELECT
    tupleElement(l.flow, 'id') AS id,
    (tupleElement(l.flow, 'last'), l.seq) AS told,
    NOT tupleElement(l.flow, 'update') AS began,
    flowlog_end(l.source) AS source,
    flowlog_end(l.destination) AS destination,
    tupleElement(l.destination, 'port') AS port,
    tupleElement(l.flow, 'direction') AS direction,
    tupleElement(l.flow, 'protocol') AS protocol,
    flowlog_rest(l.dialed, l.verdict, tupleElement(l.outcome, 'state'), l.class) AS rest
FROM flowlog_lines AS l
WHERE l.kind = 'flow' AND l.v = 1
    AND (tupleElement(l.flow, 'update')
        OR (tupleElement(l.flow, 'count') > 0 AND tupleElement(l.outcome, 'state') NOT IN ('established', 'answered')));
