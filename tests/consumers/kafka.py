"""librdkafka's mock cluster, with a topic `flowlog`, and a consumer of it.

Says the addresses of its brokers as a JSON text. For each line on standard input, a number, it answers with all messages
as they come until so many different ones are there, or with what there is after 20 seconds: [[partition, key, time, value], …].
"""

import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

# As long as this producer lives, so does its cluster.
cluster = Producer({"test.mock.num.brokers": 3})
# Asked for, a topic is made.
found = cluster.list_topics(topic="flowlog", timeout=20)
brokers = ",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values())
print(json.dumps(brokers), flush=True)
for line in sys.stdin:
    wanted, got, seen, until = int(line), [], set(), time.monotonic() + 20
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "enable.auto.commit": False})
    parts = found.topics["flowlog"].partitions
    consumer.assign([TopicPartition("flowlog", part, OFFSET_BEGINNING) for part in parts])
    while len(seen) < wanted and time.monotonic() < until:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            seen.add(message.value())
            got.append([message.partition(), message.key().decode(), message.timestamp()[1], message.value().decode()])
    consumer.close()
    print(json.dumps(got), flush=True)
