"""What is measured: the provider alone, nginx, a bare aiohttp pass-through, and Spendgate with everything on."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

NGINX_CONFIG = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; client_body_buffer_size 1m; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""

# Key check, tiktoken estimate, three budgets held, ten rules, durable journal, metrics and log: all on.
SPENDGATE_CONFIG = """
version: 1
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0"}}
providers:
  openai: {{dialect: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: "provider-key"}}
default_provider: openai
data_dir: {folder}/data
rules_file: rules.yaml
"""
SPENDGATE_RULES = """
version: 1
timezone: Europe/Berlin
teams:
  bench: {budgets: [{period: daily, limit_usd: "100000"}, {period: monthly, limit_usd: "1000000"}]}
budgets:
  - {id: everyone, scope: global, period: monthly, limit_usd: "2000000"}
rules:
""" + "".join(
    f"  - {{rule_id: rule-{number}, threshold_type: operation_cost, threshold_value: {50 + number}, action: block}}\n"
    for number in range(10)
)


@dataclass(slots=True)
class Subject:
    name: str
    port: int
    key: str
    process: subprocess.Popen[bytes] | None
    start_seconds: float = 0.0

    def cpu_seconds(self) -> float:
        if self.process is None:
            return 0.0
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def resident_mb(self) -> float:
        if self.process is None:
            return 0.0
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def provider(core: int, *, chunks: int, per_second: float) -> Iterator[Subject]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.provider",
        "--chunks",
        str(chunks),
        "--per-second",
        str(per_second),
    ]
    process = _start(command, core, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield Subject("direct", int(process.stdout.readline()), "key", None)
    finally:
        _stop(process)


@contextlib.contextmanager
def bare_aiohttp(core: int, upstream: int) -> Iterator[Subject]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "benchmarks.bare",
        "--upstream",
        f"http://127.0.0.1:{upstream}",
        "--port",
        str(port),
    ]
    with _running("bare aiohttp", command, core, port) as subject:
        yield subject


@contextlib.contextmanager
def nginx(core: int, upstream: int) -> Iterator[Subject | None]:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX_CONFIG.format(folder=folder, upstream=upstream, port=port))
        with _running("nginx", [binary, "-p", folder, "-c", str(config)], core, port) as subject:
            yield subject


@contextlib.contextmanager
def spendgate(core: int, upstream: int) -> Iterator[Subject]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(SPENDGATE_CONFIG.format(folder=folder, upstream=upstream))
        (Path(folder) / "rules.yaml").write_text(SPENDGATE_RULES)
        cli = [sys.executable, "-m", "proxy.cli"]
        made = subprocess.run(
            [*cli, "keys", "create", "--team", "bench", "-c", str(config)],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        key = made.stdout.strip().splitlines()[-1]
        since = time.perf_counter()
        with (Path(folder) / "log").open("wb") as log:
            process = _start([*cli, "serve", "-c", str(config)], core, stdout=log, stderr=log)
            try:
                port = _data_port(Path(folder) / "data" / "control.json", process)
                yield Subject("spendgate", port, key, process, time.perf_counter() - since)
            finally:
                _stop(process)


def _data_port(control: Path, process: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            url = json.loads(control.read_text())["data_url"]
            urllib.request.urlopen(url + "/ready", timeout=2).close()
            return int(url.rpartition(":")[2])
        time.sleep(0.01)
    raise SystemExit("spendgate did not start")


@contextlib.contextmanager
def _running(name: str, command: list[str], core: int, port: int) -> Iterator[Subject]:
    since = time.perf_counter()
    process = _start(command, core, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.01)
        yield Subject(name, port, "key", process, time.perf_counter() - since)
    finally:
        _stop(process)


def _start(command: list[str], core: int, **streams: object) -> "subprocess.Popen[bytes]":
    """Pinned to one core: the measured program on its own, load and provider on the other."""
    cores = sorted(os.sched_getaffinity(0))
    pinned = {cores[core % len(cores)]}
    process: subprocess.Popen[bytes] = subprocess.Popen(command, **streams)  # type: ignore[call-overload]
    os.sched_setaffinity(process.pid, pinned)
    return process


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
