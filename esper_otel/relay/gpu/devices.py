"""The GPUs of a run: CUDA_VISIBLE_DEVICES and MIG instances, mapped to the driver's handles.

CUDA numbers what the variable leaves visible; the driver knows every GPU of the node, in the order of the PCI bus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from esper_otel.relay.gpu.calls import Calls

MAX_GPUS: Final = 64
"""Maximum number of GPUs of a node; a driver that reports more is wrong."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU, or a MIG instance of one.

    Attributes:
        handle: the driver's handle.
        uuid: its UUID, ``GPU-…`` or ``MIG-…``.
        name: model.
        device: what torch calls it in this run, ``cuda:0``; empty for a GPU that the run sees by its instances only.
        parent: for an instance, UUID of the GPU that it is a part of.
        instance: for an instance, the number of its GPU instance.
    """

    handle: Any
    uuid: str
    name: str
    device: str = ""
    parent: str | None = None
    instance: int | None = None

    @property
    def attributes(self) -> tuple[str, ...]:
        """Values of the attributes that every metric of a GPU has."""
        return (self.uuid, self.name, "gpu", self.device)


def visible_gpus(calls: Calls, environ: Mapping[str, str], say: Callable[[str], None]) -> list[Gpu]:
    """The GPUs and MIG instances visible to a process with ``environ``, in CUDA's order, each instance's GPU after it.

    ``ESPER_OTEL_GPUS=all`` gives every GPU of the node: those that the run does not use have no ``device``.
    """
    everything = _all(calls)
    chosen = select([gpu for gpu, _ in everything], [i for _, found in everything for i in found], environ)
    names = {gpu.name for gpu, _ in everything}
    if len(names) > 1 and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and _is_numbered(environ):
        say("GPUs of different models: set CUDA_DEVICE_ORDER=PCI_BUS_ID, else cuda:<n> may name another one here")
    ordered = [msgspec.structs.replace(gpu, device=f"cuda:{index}") for index, gpu in enumerate(chosen)]
    parents = {gpu.parent for gpu in ordered}
    known = {gpu.uuid for gpu in ordered}
    wants_all = environ.get("ESPER_OTEL_GPUS", "").lower() == "all"
    rest = [gpu for gpu, _ in everything if gpu.uuid not in known and (wants_all or gpu.uuid in parents)]
    return ordered + rest


def select(gpus: list[Gpu], instances: list[Gpu], environ: Mapping[str, str]) -> list[Gpu]:
    """GPUs visible under CUDA_VISIBLE_DEVICES, by CUDA's rules.

    Numbers count GPUs; a UUID may be shortened to a prefix that fits one GPU. The first entry that names nothing ends
    the list, and so does a second mention of one. Without the variable all GPUs are visible. A GPU that is cut into
    instances cannot be used whole: CUDA takes its first instance.

    Args:
        gpus: the node's GPUs in the driver's order.
        instances: their MIG instances.
        environ: environment of the training process.
    """
    value = environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        chosen = list(gpus)
    else:
        chosen = []
        for entry in value.split(","):
            gpu = _named(entry.strip(), gpus, instances)
            if gpu is None or gpu in chosen:
                break
            chosen.append(gpu)
    return [_usable(gpu, instances) for gpu in chosen]


def _named(entry: str, gpus: list[Gpu], instances: list[Gpu]) -> Gpu | None:
    if entry.isdecimal():
        return gpus[int(entry)] if int(entry) < len(gpus) else None
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    fits = [gpu for gpu in (*gpus, *instances) if gpu.uuid.startswith(entry)]
    return fits[0] if len(fits) == 1 else None


def _usable(gpu: Gpu, instances: list[Gpu]) -> Gpu:
    return next((instance for instance in instances if instance.parent == gpu.uuid), gpu)


def _is_numbered(environ: Mapping[str, str]) -> bool:
    return "GPU-" not in environ.get("CUDA_VISIBLE_DEVICES", "") and "MIG-" not in environ.get(
        "CUDA_VISIBLE_DEVICES", ""
    )


def _all(calls: Calls) -> list[tuple[Gpu, list[Gpu]]]:
    count = calls.number("nvmlDeviceGetCount", calls.ask("", "nvmlDeviceGetCount") or 0, 0, MAX_GPUS)
    found = []
    for index in range(int(count or 0)):
        handle = calls.ask("", "nvmlDeviceGetHandleByIndex", index, variant=(index,))
        gpu = _describe(calls, handle) if handle is not None else None
        if gpu is not None:
            found.append((gpu, _instances(calls, gpu)))
    return found


def _describe(calls: Calls, handle: Any, parent: Gpu | None = None) -> Gpu | None:
    owner = parent.uuid if parent else ""
    uuid = calls.ask(owner, "nvmlDeviceGetUUID", handle)
    if not isinstance(uuid, str) or not uuid:
        return None
    name = calls.ask(uuid, "nvmlDeviceGetName", handle)
    instance = calls.ask(uuid, "nvmlDeviceGetGpuInstanceId", handle) if parent else None
    return Gpu(
        handle=handle,
        uuid=uuid,
        name=name if isinstance(name, str) else parent.name if parent else "unknown",
        parent=owner or None,
        instance=instance,
    )


def _instances(calls: Calls, gpu: Gpu) -> list[Gpu]:
    mode = calls.ask(gpu.uuid, "nvmlDeviceGetMigMode", gpu.handle)
    if not mode or mode[0] != calls.nvml.NVML_DEVICE_MIG_ENABLE:
        return []
    most = calls.ask(gpu.uuid, "nvmlDeviceGetMaxMigDeviceCount", gpu.handle) or 0
    found = []
    for index in range(min(int(most), MAX_GPUS)):
        handle = calls.ask(gpu.uuid, "nvmlDeviceGetMigDeviceHandleByIndex", gpu.handle, index, variant=(index,))
        instance = _describe(calls, handle, gpu) if handle is not None else None
        if instance is not None:
            found.append(instance)
    return found
