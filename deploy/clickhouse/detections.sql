-- The detections of docs/siem.md over flowlog_records, each after its name. What is asked every five minutes asks for the last five:
-- put `AND time > now() - INTERVAL 5 MINUTE` to each, and the longer time of its window to those that count.

-- policy_not_enforced
SELECT * FROM flowlog_records
WHERE kind = 'flow' AND class = 'policy_not_enforced' AND NOT verdict.settling;

-- probing_source
SELECT * FROM flowlog_records
WHERE kind = 'finding' AND finding.id = 'FL104' AND NOT finding.repeat;

-- scan_across_nodes
SELECT cluster, address, max(addresses) AS count
FROM (
    SELECT cluster, source.ip AS address, uniqExact(destination.ip) OVER (
        PARTITION BY cluster, source.ip ORDER BY toUnixTimestamp(toDateTime(time)) RANGE BETWEEN 600 PRECEDING AND CURRENT ROW)
        AS addresses
    FROM flowlog_records
    WHERE kind = 'flow' AND class IN ('denied_attempt', 'refused'))
WHERE addresses >= 25
GROUP BY ALL;

-- burst_of_denials
SELECT cluster, namespace, workload, max(told) AS attempts
FROM (
    SELECT cluster, source.namespace AS namespace, source.workload AS workload, sum(flow.count) OVER (
        PARTITION BY cluster, source.namespace, source.workload
        ORDER BY toUnixTimestamp(toDateTime(time)) RANGE BETWEEN 300 PRECEDING AND CURRENT ROW) AS told
    FROM flowlog_records
    WHERE kind = 'flow' AND class = 'denied_attempt')
WHERE told >= 300
GROUP BY ALL;

-- denied_egress_to_internet
SELECT * FROM flowlog_records
WHERE kind = 'flow' AND class = 'denied_attempt' AND flow.direction = 'egress' AND source.kind = 'pod'
    AND destination.kind = 'external';

-- third_party_reached_sensitive
SELECT * FROM flowlog_records
WHERE kind = 'flow' AND source.origin = 'third_party' AND destination.sensitive
    AND outcome.state IN ('established', 'answered', 'received')
    AND NOT (source.vendor != '' AND source.vendor = destination.vendor AND source.namespace = destination.namespace);

-- metadata_address
SELECT * FROM flowlog_records
WHERE kind = 'flow' AND source.kind = 'pod'
    AND destination.ip IN (
        '169.254.169.254', '100.100.100.200', '169.254.170.2', '169.254.170.23', 'fd00:ec2::254', 'fd00:ec2::23')
    AND outcome.state IN ('established', 'answered', 'received') AND ifNull(destination.port, 0) != 53;

-- third_party_at_cluster_interfaces
SELECT * FROM flowlog_records
WHERE kind = 'flow' AND source.origin = 'third_party' AND outcome.state IN ('established', 'answered', 'received')
    AND ((destination.kind = 'node' AND destination.port IN (10250, 10255))
        OR (dialed.service.namespace = 'default' AND dialed.service.name = 'kubernetes')
        OR (destination.service.namespace = 'default' AND destination.service.name = 'kubernetes'));

-- log_incomplete
SELECT * FROM flowlog_records
WHERE (kind = 'loss' AND loss.class NOT IN ('allowed', 'unrestricted')) OR (kind = 'agent' AND agent.event = 'gap');

-- agent_stopped
SELECT * FROM flowlog_records
WHERE kind = 'agent' AND (agent.event = 'stop' OR (agent.event = 'start' AND agent.pin.ended = false));

-- snapshot_stale
SELECT * FROM flowlog_records
WHERE kind = 'agent' AND agent.event = 'snapshot' AND agent.snapshot.state = 'stale';

-- new_external_destination
WITH
    reached AS (
        SELECT cluster, source.namespace AS namespace, if(source.workload.name = '', source.pod, source.workload.name) AS workload,
            source.vendor AS vendor,
            multiIf(notEmpty(destination.names), destination.names[1].name, destination.network != '', destination.network,
                destination.ip) AS place,
            time
        FROM flowlog_records
        WHERE kind = 'flow' AND source.origin = 'third_party' AND destination.kind = 'external'
            AND outcome.state IN ('established', 'answered')),
    workloads AS (SELECT cluster, namespace, workload, min(time) AS seen FROM reached GROUP BY ALL),
    places AS (SELECT cluster, namespace, workload, vendor, place, min(time) AS first FROM reached GROUP BY ALL)
SELECT * FROM places INNER JOIN workloads USING (cluster, namespace, workload)
WHERE first > (SELECT max(time) FROM reached) - INTERVAL 1 DAY AND first > seen + INTERVAL 7 DAY;
