"""The lab's container images, made without a registry: an archive for each, as 'docker save' writes it."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.cluster.places import BIN, CACHE, IMAGES, ROOT
from scripts.cluster.processes import LabError, run

TRAINER: Final = "registry.example.com/esper/trainer:0.1.0"
COLLECTOR: Final = "registry.example.com/esper/otelcol-esper:0.159.0"
USER: Final = 10001

_DEBIAN: Final = "bookworm"
_DEBIAN_PACKAGES: Final = "ca-certificates,python3-minimal,python3.11-minimal,libpython3.11-stdlib"
_SCRATCH_CONFIG: Final = {"User": f"{USER}:{USER}"}
_VENV: Final = "/opt/venv"


def archives() -> list[Path]:
    """The archives of all images."""
    return sorted(IMAGES.glob("*.tar"))


def build() -> None:
    """Make the archives that are missing or were made from other files."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    _of_program("pause", "lab/pause:1", BIN / "pause", {"Entrypoint": ["/pause"]})
    _of_program("coredns", "lab/coredns:1", BIN / "coredns", {"Entrypoint": ["/coredns"]})
    collector = ROOT / ".tools" / "bin" / "otelcol-esper"
    subprocess.run(["sh", ROOT / "scripts" / "collector.sh"], check=True)
    if not collector.exists():
        raise LabError(f"{collector} is missing: run 'make tools'")
    started = {"Entrypoint": ["/otelcol-esper"], **_SCRATCH_CONFIG}
    _of_program("collector", COLLECTOR, collector, started, owned="var/lib/otelcol/queue")
    base = _debian()
    _of_program("prometheus", "lab/prometheus:1", Path("/usr/bin/prometheus"), _SCRATCH_CONFIG, base=[base])
    _trainer(base)


def _of_program(
    name: str, tag: str, program: Path, config: Mapping[str, Any], *, owned: str = "", base: Sequence[Path] = ()
) -> None:
    """The image of one program, which is all there is in it beside ``base``; ``owned`` is a folder of its user's."""
    made_from = f"{program.stat().st_mtime_ns} {program.stat().st_size} {config} {[part.name for part in base]}"
    if _is_made(name, made_from):
        return
    layer = CACHE / f"{name}.layer"
    with tarfile.open(layer, "w") as tar:
        tar.add(program, program.name)
        folder = ""
        for part in filter(None, owned.split("/")):
            folder = f"{folder}{part}/"
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o755, USER, USER
            tar.addfile(entry)
    _write(name, tag, [*base, layer], config)
    _mark(name, made_from)


def _debian() -> Path:
    """A layer of Debian with Python."""
    layer, root = CACHE / f"{_DEBIAN}-python.layer", CACHE / "debian"
    if not layer.exists():
        shutil.rmtree(root, ignore_errors=True)
        run("nice", "-n", "19", "debootstrap", "--variant=minbase", f"--include={_DEBIAN_PACKAGES}", _DEBIAN, root)
        for rubbish in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "dev"):
            shutil.rmtree(root / rubbish, ignore_errors=True)
        (root / "dev").mkdir()
        _pack(root, layer)
    return layer


def _trainer(base: Path) -> None:
    """The project with its relay, and a trainer's packages without torch, on Debian's Python.

    Paths and user are those of deploy/k8s/Dockerfile.trainer.
    """
    made_from = _digest_of_sources() + base.name
    if _is_made("trainer", made_from):
        return
    root = CACHE / "trainer"
    shutil.rmtree(root, ignore_errors=True)
    venv = root / _VENV.strip("/")
    uv = ROOT / ".venv" / "bin" / "uv"
    pins = ("-c", ROOT / "constraints.txt", "--build-constraints", ROOT / "constraints.txt")
    run(uv, "venv", "-q", "--python", "/usr/bin/python3.11", venv, env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"})
    certificates = ["--system-certs"] if Path("/etc/ssl/certs/ca-certificates.crt").exists() else []
    run(uv, "pip", "install", "-q", *certificates, "--python", venv / "bin" / "python", *pins, f"{ROOT}[relay]")
    for script in (venv / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_text(encoding="utf-8")
            script.write_text(text.replace(str(venv), _VENV), encoding="utf-8")
    shutil.copytree(ROOT / "trainer", root / "opt" / "checkout" / "trainer")
    layer = CACHE / "trainer.layer"
    _pack(root, layer)
    variables = [f"PATH={_VENV}/bin:/usr/bin:/bin", "PYTHONPATH=/opt/checkout", "PYTHONUNBUFFERED=1"]
    config = {"User": f"{USER}:{USER}", "WorkingDir": "/tmp", "Env": [*variables, "PYTHONDONTWRITEBYTECODE=1"]}
    _write("trainer", TRAINER, [base, layer], config)
    _mark("trainer", made_from)
    shutil.rmtree(root)


def _digest_of_sources() -> str:
    tracked = run("git", "-C", ROOT, "ls-files", "-z", "esper_otel", "trainer", "pyproject.toml", "constraints.txt")
    digest = hashlib.sha256()
    for name in filter(None, tracked.split("\0")):
        digest.update(name.encode() + (ROOT / name).read_bytes() if (ROOT / name).exists() else b"")
    return digest.hexdigest()


def _pack(root: Path, layer: Path) -> None:
    run("tar", "--sort=name", "--numeric-owner", "-C", root, "-cf", f"{layer}.new", ".")
    Path(f"{layer}.new").rename(layer)


def _write(name: str, tag: str, layers: Sequence[Path], config: Mapping[str, Any]) -> None:
    """Write the archive of the image ``tag``, whose layers lie one over the other."""
    names = [_sha256(layer) for layer in layers]
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in names]},
    }
    text = json.dumps(described).encode()
    own_name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": own_name, "RepoTags": [tag], "Layers": [f"{each}.tar" for each in names]}]
    unfinished = IMAGES / f"{name}.new"
    with tarfile.open(unfinished, "w") as tar:
        for each, layer in zip(names, layers, strict=True):
            tar.add(layer, f"{each}.tar")
        for member, content in ((own_name, text), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    unfinished.rename(IMAGES / f"{name}.tar")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_made(name: str, made_from: str) -> bool:
    stamp = CACHE / f"{name}.made-from"
    return (IMAGES / f"{name}.tar").exists() and stamp.exists() and stamp.read_text() == made_from


def _mark(name: str, made_from: str) -> None:
    (CACHE / f"{name}.made-from").write_text(made_from)
