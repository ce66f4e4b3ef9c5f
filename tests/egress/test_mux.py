"""The stream between relay and gateway: framing, flow control, and what a hostile end may try."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpbox.egress import mux
from mcpbox.egress.mux import ANSWER, ASK, CREDIT, DATA, END, OPEN, RESET, Event, Mux, ProtocolError, frame


def ends() -> tuple[Mux, Mux]:
    """The relay's end and the gateway's."""
    return Mux(mux.FROM_GATEWAY), Mux(mux.FROM_RELAY)


def opened() -> tuple[Mux, Mux, int]:
    relay, gateway = ends()
    number, data = relay.open("api.example.com:443")
    assert gateway.feed(data) == [Event(OPEN, number, b"api.example.com:443")]
    return relay, gateway, number


def test_bytes_arrive_in_order_and_each_side_ends_for_itself() -> None:
    relay, gateway, number = opened()
    sent = relay.data(number, b"one") + relay.data(number, b"two") + relay.end(number)
    assert gateway.feed(sent) == [Event(DATA, number, b"one"), Event(DATA, number, b"two"), Event(END, number, b"")]
    assert not gateway.ended(number)
    assert relay.feed(gateway.data(number, b"three") + gateway.end(number))[0].payload == b"three"
    assert gateway.ended(number) and relay.ended(number)
    relay.close(number)
    gateway.close(number)
    assert (relay.streams, gateway.streams) == (0, 0)


def test_no_more_is_sent_than_was_granted_and_a_moving_stream_is_granted_more() -> None:
    relay, gateway, number = opened()
    total = 0
    while room := relay.may_send(number):
        gateway.feed(relay.data(number, bytes(room)))
        total += room
    assert total == mux.WINDOW
    windows = []
    for _ in range(12):
        credit = gateway.consumed(number, total)
        relay.feed(credit)
        total = 0
        while room := relay.may_send(number):
            gateway.feed(relay.data(number, bytes(room)))
            total += room
        windows.append(total)
    assert windows[0] == 2 * mux.WINDOW and windows[-1] == mux.MAX_WINDOW


def test_all_windows_together_stay_below_the_budget() -> None:
    relay, gateway = ends()
    numbers = []
    for _ in range(mux.MAX_STREAMS):
        number, data = relay.open("x:1")
        gateway.feed(data)
        numbers.append(number)
    granted = mux.WINDOW * len(numbers)
    for number in numbers:
        for _ in range(6):
            size = 0
            while room := relay.may_send(number):
                gateway.feed(relay.data(number, bytes(room)))
                size += room
            if credit := gateway.consumed(number, size):
                granted += struct.unpack("!I", credit[mux.HEADER.size :])[0] - size
                relay.feed(credit)
    assert granted <= max(mux.BUDGET, mux.WINDOW * mux.MAX_STREAMS)
    with pytest.raises(OverflowError):
        relay.open("x:1")


def test_what_crossed_with_a_reset_is_nobodys_business() -> None:
    relay, gateway, number = opened()
    late = relay.data(number, b"late") + relay.end(number)
    assert relay.feed(gateway.reset(number)) == [Event(RESET, number, b"")]
    assert gateway.feed(late) == []
    assert gateway.reset(number) == b"" and relay.end(number) == b"" and relay.may_send(number) == 0


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (frame(ANSWER, 1, b"\x01"), "a frame of type 7"),
        (frame(0, 1), "a frame of type 0"),
        (frame(99, 1), "a frame of type 99"),
        (mux.HEADER.pack(DATA, 1, mux.MAX_PAYLOAD + 1), f"with {mux.MAX_PAYLOAD + 1} bytes"),
        (frame(OPEN, 3, b"x:1"), "stream 3 opened after 1"),
        (frame(OPEN, 1, b"x:1"), "stream 1 opened after 1"),
        (frame(OPEN, 0, b"x:1"), "stream 0 opened after 1"),
        (frame(DATA, 2, b"x"), "stream 2 was never opened"),
        (frame(DATA, 0, b"x"), "stream 0 was never opened"),
        (frame(DATA, 1, bytes(mux.WINDOW + 1)), "data that was not granted"),
        (frame(END, 1) + frame(DATA, 1, b"x"), "data that was not granted"),
        (frame(END, 1) + frame(END, 1), "ended twice"),
        (frame(CREDIT, 1, b"\0\0\1"), "a credit of 3 bytes"),
        (frame(CREDIT, 1, b"\xff\xff\xff\xff"), "more credit than a window"),
        (b"".join(frame(OPEN, number, b"x:1") for number in range(2, 2 * mux.MAX_STREAMS + 2)), "2048 open"),
    ],
)
def test_a_broken_rule_ends_the_stream(sent: bytes, reason: str) -> None:
    _, gateway, _ = opened()
    with pytest.raises(ProtocolError, match=reason):
        gateway.feed(sent)


def test_the_gateway_may_neither_open_nor_ask() -> None:
    for kind in (OPEN, ASK):
        with pytest.raises(ProtocolError, match=f"type {kind}"):
            ends()[0].feed(frame(kind, 1, b"x"))


@given(st.data())
def test_any_chunking_gives_the_same_events(data: st.DataObject) -> None:
    relay, _ = ends()
    sent = b""
    for _ in range(data.draw(st.integers(1, 4))):
        number, opening = relay.open(data.draw(st.text("abc.:", max_size=20)))
        sent += opening + frame(ASK, number, b"name")
        for payload in data.draw(st.lists(st.binary(max_size=300), max_size=4)):
            sent += relay.data(number, payload)
        sent += data.draw(st.sampled_from([b"", relay.end(number)]))
    whole = ends()[1].feed(sent)
    pieces = ends()[1]
    events, at = [], 0
    while at < len(sent):
        size = data.draw(st.integers(1, 50))
        events += pieces.feed(sent[at : at + size])
        at += size
    assert events == whole


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4), st.binary(max_size=40)), max_size=30), st.binary())
def test_whatever_comes_nothing_but_a_protocol_error_is_raised(
    frames: list[tuple[int, int, bytes]], rest: bytes
) -> None:
    gateway = ends()[1]
    try:
        for kind, number, payload in frames:
            for event in gateway.feed(frame(kind, number, payload)):
                gateway.consumed(event.stream, len(event.payload))
                gateway.end(event.stream)
                gateway.reset(event.stream)
        gateway.feed(rest)
    except ProtocolError:
        return
    assert gateway.streams <= 2 * mux.MAX_STREAMS
