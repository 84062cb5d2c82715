#!/usr/bin/env python3
"""What a burst of subscribers that never read leaves behind in the node's memory.

    burst.py PORT PID [CONNECTIONS [SUBSCRIPTIONS [BLOCKS]]]

Opens CONNECTIONS (100) WebSockets with SUBSCRIPTIONS (20) of newHeads each, reads nothing, mines
BLOCKS (20,000), closes all, and prints the resident set of process PID in MB: before, with the
subscriptions open, at the peak, after the close, and after 5 and 15 idle seconds.
"""
import http.client
import json
import os
import socket
import struct
import sys
import time

PORT, PID = int(sys.argv[1]), int(sys.argv[2])
CONNECTIONS, SUBSCRIPTIONS, BLOCKS = (
    int(sys.argv[at]) if len(sys.argv) > at else default
    for at, default in ((3, 100), (4, 20), (5, 20_000))
)


def resident_mb():
    with open(f"/proc/{PID}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def frame(text):
    """A masked text frame (RFC 6455) with a mask of zeros."""
    data = text.encode()
    assert len(data) < 65_536
    head = bytes([0x81, 0x80 | len(data)]) if len(data) < 126 else struct.pack("!BBH", 0x81, 0xFE, len(data))
    return head + bytes(4) + data


def subscriber():
    stream = socket.create_connection(("127.0.0.1", PORT))
    stream.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += stream.recv(4_096)
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
    for _ in range(SUBSCRIPTIONS):
        stream.sendall(frame(json.dumps(request)))
    # The answers are small: they are read, so that all subscriptions stand.
    answers = b""
    while answers.count(b'"result"') < SUBSCRIPTIONS:
        answers += stream.recv(65_536)
    return stream


def call(method, params):
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


marks = [("before", resident_mb())]
streams = [subscriber() for _ in range(CONNECTIONS)]
marks.append(("subscribed", resident_mb()))
peak = 0.0
for _ in range(20):
    call("anvil_mine", [BLOCKS // 20])
    peak = max(peak, resident_mb())
marks.append(("peak", peak))
for stream in streams:
    stream.close()
time.sleep(1)
marks.append(("closed", resident_mb()))
time.sleep(4)
marks.append(("idle 5 s", resident_mb()))
time.sleep(10)
marks.append(("idle 15 s", resident_mb()))
print("  ".join(f"{name} {size:.0f}" for name, size in marks))
