"""The reader of deliveries gives what pika's own encoder put in, however the bytes are cut and mixed."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from pydbsync.errors import SourceError
from pydbsync.model import Delivery
from pydbsync.source.frames import DeliveryReader

CHANNEL = 3
CONSUMER = "pydbsync-c0ffee"
FRAME_MAX = 512
HEARTBEAT = frame.Heartbeat().marshal()
DECLARE_OK = frame.Method(CHANNEL, spec.Queue.DeclareOk("q", 1, 0)).marshal()
OTHER_CHANNEL = frame.Method(CHANNEL + 1, spec.Queue.DeclareOk("q", 1, 0)).marshal()


def frames_of(delivery: Delivery, *, channel: int = CHANNEL, exchange: str = "maxwell") -> list[bytes]:
    """The frames of a delivery, as the broker sends them."""
    method = spec.Basic.Deliver(CONSUMER, delivery.tag, delivery.redelivered, exchange, "shop.orders")
    properties = spec.BasicProperties(content_type="application/json", delivery_mode=2, headers={"a": "Î\xce"})
    step = FRAME_MAX - 8
    pieces = [delivery.body[start : start + step] for start in range(0, len(delivery.body), step)]
    return [
        frame.Method(channel, method).marshal(),
        frame.Header(channel, len(delivery.body), properties).marshal(),
        *(frame.Body(channel, piece).marshal() for piece in pieces),
    ]


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """`data` in pieces of these sizes, the last one with the rest."""
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    yield data[start:]


def make_reader() -> tuple[DeliveryReader, list[bytes]]:
    passed_on: list[bytes] = []
    return DeliveryReader(channel=CHANNEL, consumer_tag=CONSUMER, pass_on=passed_on.append), passed_on


bodies = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([0, 1, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 3 * (FRAME_MAX - 8)]).map(
        lambda n: b"\xce" * n
    ),
    st.integers(0, 5 * FRAME_MAX).map(lambda n: bytes(i % 256 for i in range(n))),
)
deliveries = st.lists(st.builds(Delivery, bodies, st.integers(0, 2**64 - 1), st.booleans()), max_size=12)


@given(
    sent=deliveries,
    sizes=st.lists(st.integers(1, 700), max_size=40),
    noise=st.lists(st.tuples(st.integers(0, 60), st.sampled_from([HEARTBEAT, OTHER_CHANNEL])), max_size=8),
)
def test_every_delivery_comes_out_whole_and_in_order(
    sent: list[Delivery], sizes: list[int], noise: list[tuple[int, bytes]]
) -> None:
    frames = [piece for delivery in sent for piece in frames_of(delivery)]
    strangers = [stranger for _, stranger in sorted(noise, key=lambda pair: pair[0])]
    for place, stranger in sorted(noise, key=lambda pair: pair[0], reverse=True):
        frames.insert(place, stranger)  # also between the frames of one delivery, as AMQP allows for other channels
    reader, passed_on = make_reader()
    received = [delivery for data in cut(b"".join(frames), sizes) for delivery in reader.feed(data)]
    assert received == sent
    assert all(type(delivery) is Delivery for delivery in received)
    assert sorted(passed_on) == sorted(strangers)
    assert reader.passed_on_bytes == sum(map(len, strangers))


def test_an_answer_on_the_same_channel_between_deliveries_is_handed_on() -> None:
    first, second = Delivery(b"one", 1), Delivery(b"", 2, redelivered=True)
    reader, passed_on = make_reader()
    received = reader.feed(b"".join([*frames_of(first), DECLARE_OK, *frames_of(second), DECLARE_OK]))
    assert received == [first, second]
    assert passed_on == [DECLARE_OK, DECLARE_OK]


def test_deliveries_of_another_channel_are_handed_on_frame_by_frame() -> None:
    frames = frames_of(Delivery(b"x" * 1000, 7), channel=CHANNEL + 1)
    reader, passed_on = make_reader()
    assert reader.feed(b"".join(frames)) == []
    assert passed_on == frames


def test_a_message_is_given_out_as_soon_as_its_last_byte_is_there() -> None:
    data = b"".join(frames_of(Delivery(b"x" * 2000, 9)))
    reader, _ = make_reader()
    assert [reader.feed(data[i : i + 1]) for i in range(len(data) - 1)] == [[]] * (len(data) - 1)
    assert reader.feed(data[-1:]) == [Delivery(b"x" * 2000, 9)]


def test_a_protocol_header_is_handed_on_as_it_is() -> None:
    reader, passed_on = make_reader()
    assert reader.feed(b"AMQP\x00\x00\x09\x01") == []
    assert passed_on == [b"AMQP\x00\x00\x09\x01"]


def test_a_frame_without_its_end_is_an_error() -> None:
    frames = frames_of(Delivery(b"body", 1))
    for index in range(len(frames)):
        broken = [*frames]
        broken[index] = broken[index][:-1] + b"\x00"
        reader, _ = make_reader()
        with pytest.raises(SourceError, match="no frames of AMQP"):
            reader.feed(b"".join(broken))


def test_a_delivery_for_an_unknown_consumer_is_an_error() -> None:
    method = frame.Method(CHANNEL, spec.Basic.Deliver("another-consumer", 1, False, "", "q")).marshal()
    reader, _ = make_reader()
    with pytest.raises(SourceError, match="did not start"):
        reader.feed(method)


def test_a_body_longer_than_announced_is_an_error() -> None:
    method, header, body = frames_of(Delivery(b"four", 1))
    header = header.replace(struct.pack(">Q", 4), struct.pack(">Q", 3))
    reader, _ = make_reader()
    with pytest.raises(SourceError, match="longer"):
        reader.feed(method + header + body)


@pytest.mark.parametrize("cuts", [[], [1] * 150])
def test_how_often_a_message_was_given_back_is_read_from_its_header(cuts: list[int]) -> None:
    marker = 2**40  # beyond 32 bits pika writes a number as RabbitMQ does: as a long
    reader, _ = make_reader()
    assert reader.most_returns == 0
    for count in (2, 7, 3):
        headers = {"x-delivery-count": marker}
        header = frame.Header(CHANNEL, 2, spec.BasicProperties(headers=headers)).marshal()
        number = struct.pack(">q", marker)
        assert number in header
        method = frame.Method(CHANNEL, spec.Basic.Deliver(CONSUMER, count, True, "maxwell", "shop.orders")).marshal()
        body = frame.Body(CHANNEL, b"{}").marshal()
        data = method + header.replace(number, struct.pack(">q", count)) + body
        received = [delivery for piece in cut(data, cuts) for delivery in reader.feed(piece)]
        assert received == [Delivery(b"{}", count, redelivered=True)]
    assert reader.most_returns == 7


PROPERTIES = {
    "none": spec.BasicProperties(),
    "others": spec.BasicProperties(content_type="a", headers={"x": 1}, message_id="m"),
    "alone": spec.BasicProperties(timestamp=1_700_000_000),
    "behind all others": spec.BasicProperties(
        content_type="application/json", content_encoding="utf-8", headers={"a": "Î"}, delivery_mode=2, priority=1,
        correlation_id="c", reply_to="r", expiration="1", message_id="m", timestamp=1_700_000_000, type="t",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROPERTIES)
def test_the_time_of_publishing_is_read_where_a_message_tells_it(name: str) -> None:
    properties = PROPERTIES[name]
    method = spec.Basic.Deliver(CONSUMER, 1, False, "maxwell", "shop.orders")
    reader, _ = make_reader()
    parts = [
        frame.Method(CHANNEL, method).marshal(),
        frame.Header(CHANNEL, 2, properties).marshal(),
        frame.Body(CHANNEL, b"{}").marshal(),
    ]
    assert [each.body for each in reader.feed(b"".join(parts))] == [b"{}"]
    assert reader.published_at == properties.timestamp
