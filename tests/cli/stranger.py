"""A server that answers whatever a test says: no refault service, or a hostile one."""

import contextlib
import socketserver
import threading


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = b""
            while line := self.rfile.readline():
                head += line
                if line == b"\r\n":
                    break
            if not line:
                return
            length = next(
                (int(row.split(b":")[1]) for row in head.lower().split(b"\r\n")
                 if row.startswith(b"content-length:")), 0,
            )  # fmt: skip
            self.rfile.read(length)
            self.server.asked.append(head.decode("latin-1"))
            with contextlib.suppress(OSError):
                for part in self.server.answer(head):
                    self.wfile.write(part)
            if self.server.is_closing:
                return


class Stranger(socketserver.ThreadingTCPServer):
    """``answer`` is given the head of a request and yields the bytes of a whole response."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = []
        self.is_closing = False
        self.answer = lambda _: [body(b"{}")]
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


def body(data, *, status="200 OK", kind="application/json", headers=()):
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(data)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + data


def endless(part, *, kind="application/json", headers=()):
    """A response that never ends."""
    lines = ["HTTP/1.1 200 OK", f"content-type: {kind}", "transfer-encoding: chunked"]
    yield "\r\n".join([*lines, *headers, "", ""]).encode()
    while True:
        yield b"%x\r\n%s\r\n" % (len(part), part)


@contextlib.contextmanager
def stranger():
    with Stranger() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
