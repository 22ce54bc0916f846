"""When two streams of one name are one and the same queue."""

from __future__ import annotations

import socket

import msgspec
import pytest

from pydbsync.apply.origin import StreamOrigin, origin_of
from pydbsync.config.settings import AmqpSettings, QueueSettings, settings_from_mapping
from pydbsync.errors import ConfigError

ORIGIN = StreamOrigin(queue="q", vhost="/", cluster="rabbit@one", address="one:5672")


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({}, True),
        ({"cluster": "rabbit@4711"}, True),  # a container with another host name
        ({"address": "two:5672"}, True),  # another address of the broker
        ({"cluster": "rabbit@two", "address": "two:5672"}, False),
        ({"vhost": "other"}, False),
        ({"queue": "other"}, False),
    ],
)
def test_a_broker_is_known_by_its_name_or_its_address(changes: dict[str, str], is_same: bool) -> None:
    other = StreamOrigin(**{**{name: getattr(ORIGIN, name) for name in ORIGIN.__struct_fields__}, **changes})
    assert ORIGIN.is_same_as(other) is is_same
    assert other.is_same_as(ORIGIN) is is_same


def test_a_broker_at_another_address_that_is_proven_to_be_a_second_one_is_not_the_same() -> None:
    asked: list[StreamOrigin] = []

    def prove(other: StreamOrigin) -> bool:
        asked.append(other)
        return True

    moved = msgspec.structs.replace(ORIGIN, address="two:5672")
    origin = msgspec.structs.replace(ORIGIN, proves_another=prove)
    renamed = msgspec.structs.replace(ORIGIN, cluster="rabbit@4711")
    assert [origin.is_same_as(each) for each in (ORIGIN, renamed, moved)] == [True, True, False]
    assert asked == [moved]
    assert origin.kept() == ORIGIN.kept() == ("q", "/", "rabbit@one", "one:5672")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("mq:5672", ("mq", 5672)),
        ("::1:5672", ("::1", 5672)),
        (f"127.0.0.1:5672 of {socket.gethostname()}", ("127.0.0.1", 5672)),
        ("127.0.0.1:5672 of another", None),
        ("mq", None),
    ],
)
def test_an_address_that_was_kept_is_reached_where_it_means_the_same(address: str, found: tuple[str, int]) -> None:
    assert msgspec.structs.replace(ORIGIN, address=address).host_and_port() == found


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_an_address_of_this_machine_is_another_one_on_another_machine(host: str) -> None:
    queue = QueueSettings(queue="q", exchange="e", exchange_type="topic", routing_keys=())
    assert origin_of(AmqpSettings(host=host), queue, "rabbit@one").address == f"{host}:5672 of {socket.gethostname()}"
    assert origin_of(AmqpSettings(host="mq"), queue, "").cluster == "mq:5672"


def streams(names: dict[str, str], *queues: str) -> list[str]:
    bound = [{"exchange": ["e", "topic"], "queues": {queue: ["#"] for queue in queues}}]
    settings, _ = settings_from_mapping({"rabbitmq_queue_bind": bound, "stream_names": names}, require=())
    return [each.stream for each in settings.queues]


def test_a_stream_has_the_name_of_its_queue_or_one_of_its_own() -> None:
    assert streams({}, "a", "b") == ["a", "b"]
    assert streams({"a": "crm.a"}, "a", "b") == ["crm.a", "b"]
    assert streams({"a": "b", "b": "a"}, "a", "b") == ["b", "a"]
    assert streams({"q" * 255: "short"}, "q" * 255) == ["short"]


@pytest.mark.parametrize(
    ("names", "queues", "said"),
    [
        ({"c": "x"}, ("a", "b"), r"^stream_names\.c: no such queue is bound"),
        ({"a": "b"}, ("a", "b"), r"^stream_names\.b: the queue 'a' has the stream 'b' already"),
        ({"a": "b "}, ("a", "b"), r"^stream_names\.b: the queue 'a' has the stream 'b' already"),
        ({"a": "x" * 191}, ("a",), r"^stream_names\.a: expected at most 190 characters"),
        ({}, ("q" * 191,), r"^stream_names\.q+: expected at most 190 characters"),
        ({"a": ""}, ("a",), r"^stream_names\.a: "),
    ],
)
def test_a_name_that_fits_no_queue_or_two_is_refused(names: dict[str, str], queues: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        streams(names, *queues)
