-- Where a third party went outside the cluster within the last day, and never before.
--
-- What is new is no matter of one record, nor of a window: a Sigma rule cannot say it. Here it is for DuckDB, over the lines as
-- they are; say where they lie first:
--   SET VARIABLE logs = '/var/log/flowlog/*.json*';
--
-- A place is the name that the pod asked for, else the network, else the address. Told is what got through, of workloads that
-- were there a week earlier: of one that is new, everything is.
WITH reached AS (
    SELECT j->>'$.cluster' AS cluster, j->>'$.source.namespace' AS namespace,
        coalesce(j->>'$.source.workload.name', j->>'$.source.pod') AS workload, j->>'$.source.vendor' AS vendor,
        coalesce(j->>'$.destination.names[0].name', j->>'$.destination.network', j->>'$.destination.ip') AS place,
        j->>'$.destination.vendor' AS to_vendor, (j->>'$.time')::TIMESTAMPTZ AS time
    FROM (SELECT json AS j FROM read_json_objects(getvariable('logs'), format = 'newline_delimited'))
    WHERE j->>'$.kind' = 'flow' AND j->>'$.source.origin' = 'third_party' AND j->>'$.destination.kind' = 'external'
        AND j->>'$.outcome.state' IN ('established', 'answered')),
places AS (
    SELECT cluster, namespace, workload, vendor, place, any_value(to_vendor) AS to_vendor, min(time) AS first, count(*) AS lines
    FROM reached GROUP BY ALL)
SELECT *
FROM places
WHERE first > (SELECT max(time) FROM reached) - INTERVAL 1 DAY
    AND first > (
        SELECT min(time) FROM reached
        WHERE reached.cluster IS NOT DISTINCT FROM places.cluster AND reached.namespace IS NOT DISTINCT FROM places.namespace
            AND reached.workload = places.workload) + INTERVAL 7 DAY
ORDER BY first;
