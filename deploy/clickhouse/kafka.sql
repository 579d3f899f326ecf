-- Records out of Kafka into flowlog_records (records.sql first). What is no record goes to flowlog_rejected, as it was.
CREATE TABLE IF NOT EXISTS flowlog_kafka AS flowlog_records
ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka-1.example.com:9092', kafka_topic_list = 'flowlog', kafka_group_name = 'clickhouse',
    kafka_format = 'JSONEachRow', kafka_handle_error_mode = 'stream', date_time_input_format = 'best_effort',
    input_format_skip_unknown_fields = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS flowlog_from_kafka TO flowlog_records AS
SELECT * FROM flowlog_kafka WHERE _error = '';

CREATE TABLE IF NOT EXISTS flowlog_rejected (time DateTime, error String, line String)
ENGINE = MergeTree ORDER BY time TTL time + INTERVAL 90 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS flowlog_rejected_from_kafka TO flowlog_rejected AS
SELECT now() AS time, _error AS error, _raw_message AS line FROM flowlog_kafka WHERE _error != '';
