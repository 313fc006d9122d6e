"""A web process as it would be without the hand-over: the same application, and every stream sent by sse-starlette."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.cli import main
from gateway.http.protocol import Protocol

if __name__ == "__main__":
    Protocol.on_message_begin = HttpToolsProtocol.on_message_begin  # type: ignore[method-assign]  # this process is without the hand-over
    main()
