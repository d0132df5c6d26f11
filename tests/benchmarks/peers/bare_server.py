"""A server that reads nothing and answers everything with one fixed reply: what the load generator can do at most.

`python bare_server.py PORT`. Not here: anything that a real server does.
"""

import asyncio
import sys
from typing import Any

import uvloop

REPLY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{"probability":0.5}'


class Bare(asyncio.Protocol):
    """One request a segment, as the generator sends them."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(REPLY)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
