"""Makes the bytes of calls to MLflow's REST interface and sends them over one kept connection."""

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlencode

_PREFIX = "/api/2.0/mlflow"
_HOST = "127.0.0.1"


def get_alias(model: str) -> bytes:
    query = urlencode({"name": model, "alias": "live"})
    return _request("GET", f"/registered-models/alias?{query}")


def create_model(model: str) -> bytes:
    return _request("POST", "/registered-models/create", {"name": model})


def create_version(model: str) -> bytes:
    return _request("POST", "/model-versions/create", {"name": model, "source": f"s3://bench/{model}"})


def set_alias(model: str, version: int) -> bytes:
    body = {"name": model, "alias": "live", "version": str(version)}
    return _request("POST", "/registered-models/alias", body)


def number(answer: bytes) -> int:
    return int(json.loads(answer)["model_version"]["version"])


def _request(verb: str, path: str, body: Any = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{verb} {_PREFIX}{path} HTTP/1.1\r\nHost: {_HOST}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


class Connection:
    """Asks the kernel for quick acknowledgements: without them 40 ms of the peer's answers at one caller are
    Nagle's, which says nothing about its work."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._socket: socket.socket = writer.get_extra_info("socket")

    async def send(self, request: bytes) -> bytes:
        """Returns the body of the answer.

        Raises:
            RuntimeError: The peer refuses.
        """
        self._quicken()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._quicken()
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        body = await self._reader.readexactly(int(headers["content-length"]))
        if status.split()[1] != "200":
            raise RuntimeError(f"{status}: {body[:200].decode()}")
        return body

    def _quicken(self) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def connect(address: str) -> Connection:
    host, _, port = address.partition(":")
    return Connection(*await asyncio.open_connection(host, int(port)))
