"""Runs rsyslog with the configuration that ships: every line has to arrive, whole, through a rotation. The other shippers are in no
registry: their files are read as YAML, and no more.

The lines are up to as long as the agent's may be.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import time

import yaml

SIEM = pathlib.Path(__file__).resolve().parent.parent / "siem"
LOG = "/var/log/flowlog/flows.json"
# A line's most bytes, without its newline.
LONGEST = 7_899
COUNT = 400
TORN = '{"v":1,"seq":7,"kind":"fl'


class Broken(Exception):
    """A check that found something."""


def line(number):
    record = {"v": 1, "seq": number, "kind": "flow", "time": f"2026-11-30T08:00:00.{number:09}Z", "node": f"worker-{number % 3}",
              "run": "0123456789abcdef", "text": "päp\u2028\"\\ %time% "}
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    if number % 4 == 0:
        record["text"] += "x" * (LONGEST - len(text.encode()))
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return text


def read_frames(stream, count, deadline):
    """Messages with their length before them."""
    held, found = b"", []
    while len(found) < count:
        if time.monotonic() > deadline:
            raise Broken(f"rsyslog: {len(found)} of {count} lines came")
        try:
            part = stream.recv(65536)
        except TimeoutError:
            continue
        if not part:
            raise Broken(f"rsyslog left after {len(found)} lines")
        held += part
        while (mark := held.find(b" ")) > 0 and len(held) >= mark + 1 + int(held[:mark]):
            end = mark + 1 + int(held[:mark])
            found.append(held[mark + 1:end].decode())
            held = held[end:]
    return found


def check_rsyslog(out, root):
    work = (out / "rsyslog").resolve()
    work.mkdir(parents=True, exist_ok=True)
    for old in work.glob("*"):
        old.unlink()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(60)
    text = (SIEM / "rsyslog.conf").read_text()
    for mine, yours in [(LOG, f"{work}/flows.json"), ("siem.example.com", "127.0.0.1"), ("6514", str(listener.getsockname()[1]))]:
        if mine not in text:
            raise Broken(f"rsyslog.conf: no {mine}")
        text = text.replace(mine, yours)
    place = work / "rsyslog.conf"
    place.write_text(f'global(workDirectory="{work}")\n{text}')
    libraries = root / "usr/lib/x86_64-linux-gnu"
    libraries = libraries if libraries.is_dir() else next((root / "usr/lib").glob("*-linux-gnu"))
    variables = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    command = [root / "usr/sbin/rsyslogd", "-f", place, "-i", work / "pid", "-M", libraries / "rsyslog"]
    done = subprocess.run([*command, "-N1"], env=variables, capture_output=True, text=True)
    if done.returncode != 0 or re.search("error|warning", done.stderr.split("\n", 1)[-1], re.IGNORECASE):
        raise Broken(f"rsyslogd -N1:\n{done.stderr}")
    flows, lines = work / "flows.json", [line(number) for number in range(COUNT)]
    flows.write_text("".join(f"{one}\n" for one in lines[:COUNT // 2]))
    running = subprocess.Popen([*command, "-n"], env=variables)
    try:
        stream, _ = listener.accept()
        stream.settimeout(1)
        deadline = time.monotonic() + 120
        found = read_frames(stream, COUNT // 2, deadline)
        # As the agent's file is rotated: renamed, then written anew.
        flows.rename(work / "flows.json.1")
        flows.write_text("".join(f"{one}\n" for one in lines[COUNT // 2:]))
        found += read_frames(stream, COUNT - COUNT // 2, deadline)
        with flows.open("a") as file:
            file.write(f"{TORN}\n")
        stream, _ = listener.accept()
        stream.settimeout(1)
        [other] = read_frames(stream, 1, deadline)
    finally:
        running.terminate()
        running.wait(30)
    wanted = [f"<134>1 {one['time']} {one['node']} flowlog - - - {text}" for text in lines for one in [json.loads(text)]]
    if found != wanted:
        [first, *_] = [pair for pair in zip(found, wanted) if pair[0] != pair[1]]
        raise Broken(f"rsyslog: not as it was:\n{first[0][:300]}\n{first[1][:300]}")
    if not re.fullmatch(rf"<132>1 \S+ \S+ flowlog - - - {re.escape(TORN)}", other):
        raise Broken(f"rsyslog: what is no record came as {other}")
    return len(found)


def check(out, root):
    """What there is, in words; `root` is where rsyslog's package is unpacked."""
    files = [path for path in sorted(SIEM.iterdir()) if path.suffix in (".yaml", ".yml")]
    for path in files:
        yaml.safe_load(path.read_text())
        if LOG not in path.read_text():
            raise Broken(f"{path.name}: it does not read {LOG}")
    return f"rsyslog brings {check_rsyslog(out, root)} lines, through a rotation; {len(files)} files for others can be read"
