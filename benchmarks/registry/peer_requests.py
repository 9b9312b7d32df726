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
    """Keeps one connection, and makes a new one for the request after a failure.

    Asks the kernel for quick acknowledgements: without them 40 ms of the answers at one caller are Nagle's,
    which says nothing about its work.
    """

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.partition(":")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> bytes:
        """Returns the body of the answer.

        Raises:
            RuntimeError: The peer refuses.
            OSError, IncompleteReadError: It has closed the connection.
        """
        reader, writer = self._streams or await asyncio.open_connection(self._host, int(self._port))
        self._streams = None
        kept: socket.socket = writer.get_extra_info("socket")
        _quicken(kept)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        _quicken(kept)
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self._streams = reader, writer
        if status.split()[1] != "200":
            raise RuntimeError(f"{status}: {body[:200].decode()}")
        return body

    async def send_patiently(self, request: bytes) -> None:
        """Sends until there is an answer: under load the peer's supervisor restarts workers."""
        while True:
            try:
                await self.send(request)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.2)
            except RuntimeError as error:
                if "RESOURCE_ALREADY_EXISTS" not in str(error):
                    raise
                return
            else:
                return


def _quicken(kept: socket.socket) -> None:
    kept.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
