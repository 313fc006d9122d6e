"""The application behind Pushpin: holds each request for a stream open on the channel that its path names.

It answers one after the other, at its own pace: where more than a hundred are answered at once, Pushpin's processes lose some on their
way from one to the other, which their clients get as 500, or as a stream that ends (seen: 1.36).
"""

import asyncio
import sys

_PACE_SECONDS = 0.002


async def _serve(port: int) -> None:
    turn = asyncio.Lock()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                async with turn:
                    await asyncio.sleep(_PACE_SECONDS)
                channel = head.split(b" ", 2)[1].rpartition(b"/")[2]
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 6\r\n"
                    b"Grip-Hold: stream\r\nGrip-Channel: %b\r\n\r\n: hi\n\n" % channel
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
