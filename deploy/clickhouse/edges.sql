-- The edges as lines that flowlog takes in the place of records:
--
--   clickhouse-client --queries-file edges.sql > edges.json
--   flowlog assess --logs edges.json
WITH
    -- Of each attempt of which more was told: all lines but the last say what is no more so.
    attempts AS (
        SELECT groupArray((source, destination, port, direction, protocol, rest, began)) AS told, arrayEnumerate(told) AS places
        FROM (SELECT * FROM flowlog_changes ORDER BY id, told)
        GROUP BY id
        HAVING countIf(began) > 0 AND count() > 1
    ),
    changes AS (
        SELECT told[place] AS line, place = length(told) AS latest
        FROM attempts
        ARRAY JOIN places AS place
    ),
    moved AS (
        SELECT
            line.1 AS source, line.2 AS destination, line.3 AS port, line.4 AS direction, line.5 AS protocol, line.6 AS rest,
            sum(toInt64(latest) - toInt64(line.7)) AS count,
            -sum(toInt64(NOT latest)) AS lines
        FROM changes
        GROUP BY source, destination, port, direction, protocol, rest
    ),
    edges AS (
        SELECT
            source, destination, port, direction, protocol, rest,
            toInt64(sum(count)) AS count, toInt64(sum(lines)) AS lines, min(first) AS first, max(last) AS last,
            sum(bytes_sent) AS bytes_sent, sum(bytes_received) AS bytes_received,
            argMaxMerge(source_traits) AS source_traits, argMaxMerge(destination_traits) AS destination_traits
        FROM flowlog_edges
        GROUP BY source, destination, port, direction, protocol, rest
    )
SELECT concat(
    '{"v":1,"kind":"edge","flow":{"direction":"', e.direction, '","protocol":"', e.protocol,
    '","count":', toString(e.count + m.count), ',"first":"', e.first, '","last":"', e.last,
    '","bytes_sent":', toString(e.bytes_sent), ',"bytes_received":', toString(e.bytes_received),
    '},"source":{', e.source, e.source_traits,
    '},"destination":{', e.destination, e.destination_traits,
    if(isNull(e.port), '', concat(',"port":', toString(e.port))), '}', e.rest, '}') AS line
FROM edges AS e
LEFT JOIN moved AS m
    ON e.source = m.source AND e.destination = m.destination AND e.port IS NOT DISTINCT FROM m.port
    AND e.direction = m.direction AND e.protocol = m.protocol AND e.rest = m.rest
WHERE e.count + m.count > 0 OR e.lines + m.lines > 0
ORDER BY line
FORMAT TSVRaw
