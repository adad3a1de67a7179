"""What every test gets: fixed threads and seeds, no network, and the real data where it is."""

from __future__ import annotations

import ipaddress
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    """As many threads as the user asked for, at most 2: sums come out the same on any machine."""
    torch.set_num_threads(min(2, int(os.environ.get("OMP_NUM_THREADS", "2"))))


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a GPU, only what is marked as its test sees it: others expect a CPU's sums."""
    if request.node.get_closest_marker("cuda") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that a test starts


def _is_local(host: object) -> bool:
    """This machine by name or by loopback address."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that reaches for anything but this machine, even if it catches the error."""
    attempts: list[object] = []

    def check(host: object) -> None:
        if not _is_local(host):
            attempts.append(host)
            raise OSError(f"tests may not use the network: {host}")

    def guard_connect(name: str) -> None:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if isinstance(address, tuple):  # not a Unix socket
                check(address[0])
            return original(self, address)

        monkeypatch.setattr(socket.socket, name, connect)

    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return resolve(host, *args, **kwargs)

    guard_connect("connect")
    guard_connect("connect_ex")
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    if attempts:
        pytest.fail(f"the test used the network: {attempts}")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data sets, from the environment; its tests are skipped without it."""
    folder = os.environ.get("MMDIFF_DATA")
    if not folder:
        pytest.skip("MMDIFF_DATA does not name the folder of the data sets")
    return Path(folder)
