"""A real S3 server with a disk, MinIO, which is killed and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

BUCKET: Final = "telemetry"
KEY, SECRET = "esper-benchmark", "esper-benchmark-secret"  # of a server that lives for this program


class Server:
    """MinIO on a free port, whose objects lie in a directory."""

    def __init__(self, program: str, directory: Path) -> None:
        """Start it."""
        self._program, self._directory = program, directory
        (directory / BUCKET).mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._process = self._started()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def start(self) -> None:
        """Start it again, with the objects that it had."""
        self._process = self._started()

    def variables(self) -> dict[str, str]:
        """Variables with which a client uses it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{self._address}",
        }

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [self._program, "server", str(self._directory), "--address", self._address, "--quiet"],
            env=os.environ | {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not self._is_ready():
            if process.poll() is not None:
                raise SystemExit(f"{self._program} ended with status {process.returncode} at its start")
            time.sleep(0.1)
        return process

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/minio/health/ready", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
