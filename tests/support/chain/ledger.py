"""gRPC: books what was delivered. The end of the chain. ``python -m`` runs it."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tests.support.chain.passing import chosen
from tests.support.chain.setting import Diary, Setting

setting = Setting.read()
passing = chosen(setting)
diary = Diary(setting, "ledger")


async def book(request: bytes, context: Any) -> bytes:
    metadata = [(key, str(value)) for key, value in context.invocation_metadata() or ()]
    diary.write("ledger", request.decode(), metadata, passing.told())
    return b"booked"


async def main() -> None:
    server = grpc.aio.server(interceptors=passing.grpc_server_interceptors())
    handlers: dict[str, Any] = {"Book": grpc.unary_unary_rpc_method_handler(book)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Ledger", handlers),))
    address = f"127.0.0.1:{setting.ledger}"
    if setting.certificate:
        pem = Path(setting.certificate).read_bytes()  # the key first, then the certificate
        server.add_secure_port(address, grpc.ssl_server_credentials([(pem, pem)]))
    else:
        server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
