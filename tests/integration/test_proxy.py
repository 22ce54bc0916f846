"""The proxy's commands do to a connection what they say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.proxy import Proxy

MakeProxy = Callable[[int], Proxy]
SILENCE_S = 0.2


class EchoServer:
    """Sends back what comes, and remembers it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.received = b""
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.echo, args=(connection,), daemon=True).start()

    def echo(self, connection: socket.socket) -> None:
        try:
            while piece := connection.recv(65536):
                self.received += piece
                connection.sendall(piece)
        except OSError:
            pass
        connection.close()


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.fixture
def proxy(echo: EchoServer, make_proxy: MakeProxy) -> Proxy:
    return make_proxy(echo.port)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as connection:
        ask(connection, b"hello")
        yield connection


def ask(connection: socket.socket, question: bytes) -> None:
    connection.sendall(question)
    assert read(connection, len(question)) == question


def read(connection: socket.socket, size: int) -> bytes:
    answer = b""
    while len(answer) < size:
        piece = connection.recv(size - len(answer))
        assert piece, "the connection was closed"
        answer += piece
    return answer


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(SILENCE_S)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)


def test_bytes_pass_unchanged_in_both_directions(client: socket.socket) -> None:
    question = bytes(range(256)) * 4096
    sender = threading.Thread(daemon=True, target=client.sendall, args=(question,))
    sender.start()
    assert read(client, len(question)) == question
    sender.join()


def test_cut_resets_present_connections_and_lets_new_ones_through(proxy: Proxy, client: socket.socket) -> None:
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as second:
        ask(second, b"again")
    assert proxy.accepted == 2


def test_held_bytes_arrive_after_resume(proxy: Proxy, client: socket.socket) -> None:
    proxy.hold()
    client.sendall(b"later")
    assert is_silent(client)
    proxy.resume()
    assert read(client, 5) == b"later"


def test_swallowed_bytes_never_arrive_and_the_connection_stays_open(
    proxy: Proxy, client: socket.socket, echo: EchoServer
) -> None:
    proxy.swallow("to_server")
    client.sendall(b"lost")
    assert is_silent(client)
    proxy.resume()
    ask(client, b"kept")
    assert echo.received == b"hellokept"


def test_an_answer_can_be_swallowed_while_the_question_arrives(
    proxy: Proxy, client: socket.socket, echo: EchoServer
) -> None:
    proxy.swallow("to_client")
    client.sendall(b"asked")
    assert is_silent(client)
    assert echo.received == b"helloasked"


def test_a_delayed_answer_still_comes(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay(2 * SILENCE_S)
    client.sendall(b"slow")
    assert is_silent(client)
    assert read(client, 4) == b"slow"


def test_refuse_resets_present_and_new_connections_until_resume(proxy: Proxy, client: socket.socket) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection((proxy.host, proxy.port), timeout=10) as second,
    ):
        second.recv(1)
    proxy.resume()
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as third:
        ask(third, b"back")


def test_an_orderly_end_passes_through(proxy: Proxy, client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""


def test_a_server_that_is_not_there_resets_the_client(echo: EchoServer, make_proxy: MakeProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    proxy = make_proxy(port)
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection((proxy.host, proxy.port), timeout=10) as connection,
    ):
        connection.recv(1)
