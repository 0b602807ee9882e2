"""What every test gets: no network, no display, a folder of its own, the shared data."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_COLOR", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the library may need a network: connections leave this machine in no test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if isinstance(address, tuple) and host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder of its own, so that `runs/` never lands in the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shared_data() -> Path:
    """The real data sets beside the repository; the test is skipped, and counted so, without."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data sets in {folder}")
    return folder


@pytest.fixture
def shared_golden() -> Path:
    """The reference outputs beside the repository; likewise."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(f"needs the golden files in {folder}")
    return folder
