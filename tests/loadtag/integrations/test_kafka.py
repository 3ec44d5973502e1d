"""Messages by the real clients of Kafka, through a broker: librdkafka brings one, and all of them can talk to it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiokafka
import confluent_kafka
import kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtag import Dark, current_run, is_dark, serve
from loadtag.integrations.kafka import headers, serving
from tests.support.bearing import served, told

RUNS = ["run-1", None, "run-2", None]


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (found,) = producer.list_topics(timeout=20).brokers.values()
    yield f"{found.host}:{found.port}"
    producer.flush(1)


def given_headers() -> list[tuple[str, Any]]:
    return headers([("own", b"1")])


def by_confluent(broker: str) -> list[Any]:
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})
    for run in RUNS:
        with serve(served(run) if run else None):
            producer.produce("confluent", b"x", partition=0, headers=given_headers())
    producer.flush(20)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": "x", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([confluent_kafka.TopicPartition("confluent", 0, 0)])
        return consumer.consume(len(RUNS), 20)
    finally:
        consumer.close()


def by_kafka_python(broker: str) -> list[Any]:
    # The version is told, since the broker doesn't know how to be asked for it in this client's way.
    producer = kafka.KafkaProducer(bootstrap_servers=broker, api_version=(0, 11))
    for run in RUNS:
        with serve(served(run) if run else None):
            producer.send("kafka-python", b"x", partition=0, headers=given_headers()).get(20)
    producer.close()
    consumer = kafka.KafkaConsumer(bootstrap_servers=broker, api_version=(0, 11))
    try:
        consumer.assign([kafka.TopicPartition("kafka-python", 0)])
        consumer.seek_to_beginning()
        return [next(consumer) for _ in RUNS]
    finally:
        consumer.close()


def by_aiokafka(broker: str) -> list[Any]:
    async def messages() -> list[Any]:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=broker) as producer:
            for run in RUNS:
                with serve(served(run) if run else None):
                    await producer.send_and_wait("aiokafka", b"x", partition=0, headers=given_headers())
        async with aiokafka.AIOKafkaConsumer(bootstrap_servers=broker) as consumer:
            partition = aiokafka.TopicPartition("aiokafka", 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            return [await asyncio.wait_for(consumer.getone(), 20) for _ in RUNS]

    return asyncio.run(messages())


@pytest.mark.parametrize("client", [by_confluent, by_kafka_python, by_aiokafka])
def test_messages_bear_the_tag_of_the_request_that_sent_them(client: Any, broker: str) -> None:
    messages = client(broker)
    seen = []
    for message in messages:
        carried = message.headers() if callable(message.headers) else message.headers
        assert carried[0] == ("own", b"1")
        with serving(message):
            seen.append(told())
    assert seen == RUNS
    assert current_run() is None


@pytest.mark.parametrize("given", [None, [], (), {}, [("own", b"1")], (("own", None),), {"own": "1"}])
def test_what_is_given_is_not_changed_and_comes_first(given: Any) -> None:
    before = list(given.items() if isinstance(given, dict) else given or [])
    assert headers(given) == before
    with serve(served("run-1")):
        found = headers(given)
    assert found[: len(before)] == before == list(given.items() if isinstance(given, dict) else given or [])
    assert [name for name, _ in found[len(before) :]] == ["baggage", "x-load-test"]
    assert all(isinstance(value, bytes) for _, value in found[len(before) :])


def test_a_dark_copys_message_is_dark() -> None:
    class Message:
        def __init__(self) -> None:
            self.headers = headers()

    with serve(Dark("new")):
        message = Message()
    with serving(message):
        assert is_dark()


def broken() -> Any:
    raise RuntimeError("no headers in this one")


@given(st.one_of(st.none(), st.integers(), st.lists(st.tuples(st.text(), st.binary())), st.just(broken), st.binary()))
def test_no_message_is_so_strange_that_it_can_not_be_served(carried: Any) -> None:
    message = type("Message", (), {"headers": carried if carried is not broken else staticmethod(broken)})()
    with serve(served("run-1")):
        with serving(message):
            assert current_run() is None, "what nobody tagged is real, whatever was served before it"
        assert current_run() == "run-1"
