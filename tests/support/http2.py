"""A client of gRPC that sends what no gRPC library would: connections and messages made by hand."""

from __future__ import annotations

import socket
import struct
from types import TracebackType

import h2.config
import h2.connection
import h2.events


class Connection:
    """HTTP/2 without TLS, which has begun as it should."""

    def __init__(self, port: int, source: str = "127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self._send()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()

    def is_closed(self, seconds: float) -> bool:
        """Whether the server ends the connection in time."""
        self.socket.settimeout(seconds)
        try:
            while True:
                self._receive()
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def call(self, method: str, message: bytes, encoding: str = "", **metadata: str) -> int:
        """The status code of a call with one message, which is already in its `encoding`."""
        stream = self._open(method, encoding, metadata)
        status = self._upload(stream, struct.pack(">BI", bool(encoding), len(message)) + message)
        while status is None:
            status = self._status(self._receive(), stream)
        return status

    def begin(self, method: str, message: bytes) -> None:
        """A call whose client then neither reads nor writes, as one does whose machine is gone."""
        stream = self._open(method, "", {})
        self.http.send_data(stream, struct.pack(">BI", 0, len(message)) + message, end_stream=True)
        self._send()

    def _open(self, method: str, encoding: str, metadata: dict[str, str]) -> int:
        stream = self.http.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "test")]
        headers += [("te", "trailers"), ("content-type", "application/grpc"), *metadata.items()]
        headers += [("grpc-encoding", encoding)] if encoding else []
        self.http.send_headers(stream, headers)
        return stream

    def _upload(self, stream: int, data: bytes) -> int | None:
        """Sends `data` as fast as the server takes it, and returns the status if that comes before the end."""
        while data:
            window = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size)
            if window > 0:
                part, data = data[:window], data[window:]
                self.http.send_data(stream, part, end_stream=not data)
                self._send()
            elif (status := self._status(self._receive(), stream)) is not None:
                return status
        return None

    @staticmethod
    def _status(events: list[h2.events.Event], stream: int) -> int | None:
        for event in events:
            if isinstance(event, h2.events.StreamReset):
                return -1
            if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                found = dict(event.headers).get("grpc-status")
                if event.stream_id == stream and found is not None:
                    return int(found)
        return None

    def _send(self) -> None:
        self.socket.sendall(self.http.data_to_send())

    def _receive(self) -> list[h2.events.Event]:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        events: list[h2.events.Event] = self.http.receive_data(data)
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._send()
        return events
