"""One epoch of host training and its validation. The host's numbers leave the device in one read per epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from esper_otel.events import AmpState
from esper_otel.sensors import ScalerSensor
from trainer.gradient_flow import GradientFlow, Layers
from trainer.kasmina.diversity import output_similarity
from trainer.seeding import derive_seed, generator, seeded_init
from trainer.tamiyo.readback import read_rows, read_with
from trainer.tolaria.data import Digits
from trainer.tolaria.host import Host
from trainer.tolaria.phases import PhaseClock

COMPARED: Final = 64
"""Validation images on which seeds are compared: a cosine over 64 images of 128 features is stable to a percent."""


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """Settings of a host and its learning.

    Attributes:
        channels: width of the host.
        n_slots: blocks and slots.
        batches_per_epoch: mini-batches in one epoch of the environment.
        batch_size: images in a mini-batch.
        lr: learning rate of Adam, for the host and for every seed.
        warmup_epochs: epochs that a host has learned before an episode begins.
        max_grad_norm: clipping limit of the host's and every seed's gradient.
        amp: mixed precision by autocast and a gradient scaler.
        loss_scale: initial scale of the gradient scaler.
        loss_scale_growth_interval: steps without overflow after which it doubles. torch's default of 2,000 is more
            than an episode has steps: the scaler would never move.
        compile: compile the host's blocks with inductor.
    """

    channels: int = 8
    n_slots: int = 3
    batches_per_epoch: int = 5
    batch_size: int = 64
    lr: float = 0.01
    warmup_epochs: int = 10
    max_grad_norm: float = 5.0
    amp: bool = False
    loss_scale: float = 2.0**16
    loss_scale_growth_interval: int = 50
    compile: bool = False


@dataclass(frozen=True, kw_only=True)
class EpochNumbers:
    """One epoch in numbers: losses in nats, accuracies in percent, L2 norms of the last mini-batch before clipping.

    ``val_accuracy_without`` holds the accuracy with one blended slot switched off, by slot; ``host_lr`` the learning
    rate of the host's last step. ``flow`` are the host's gradients of the last mini-batch, ``similarity`` how alike the
    seeds' outputs are, both None where they were not looked at; ``amp`` what the loss scaler did, None without one.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    host_grad_norm: float
    host_lr: float
    seed_grad_norms: dict[str, float]
    val_accuracy_without: dict[str, float]
    flow: GradientFlow | None
    similarity: float | None
    amp: AmpState | None


@dataclass(kw_only=True)
class HostOptimizers:
    """Optimiser of the host, one more per seed, and the loss scaler they share."""

    host: torch.optim.Optimizer
    seeds: dict[str, torch.optim.Optimizer]
    scaler: torch.amp.GradScaler

    @classmethod
    def fresh(cls, host: Host, settings: HostSettings, device: torch.device) -> HostOptimizers:
        """Fresh optimisers for ``host``; the seeds get theirs when they start to learn."""
        return cls(
            host=_adam(host.own_parameters(), settings.lr),
            seeds={},
            scaler=torch.amp.GradScaler(
                device.type,
                init_scale=settings.loss_scale,
                growth_interval=settings.loss_scale_growth_interval,
                enabled=settings.amp,
            ),
        )

    def adopt(self, slot_id: str, parameters: list[nn.Parameter], lr: float) -> None:
        """Give a seed its optimiser; a seed without parameters needs none."""
        if parameters:
            self.seeds[slot_id] = _adam(parameters, lr)


def _adam(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=lr, fused=True)


class EpochTrainer:
    """Trains one host for one epoch after another."""

    def __init__(
        self, host: Host, data: Digits, settings: HostSettings, device: torch.device, clock: PhaseClock
    ) -> None:
        self.host = host
        self.data = data
        self.settings = settings
        self.device = device
        self.clock = clock
        self.optimizers = HostOptimizers.fresh(host, settings, device)
        self.layers = Layers(host.own_named_parameters())
        self.scaling = _watched(self.optimizers.scaler, device)

    def run(
        self, stream: torch.Generator, blended: Sequence[str], *, look: bool = False, compare: bool = False
    ) -> EpochNumbers:
        """Train one epoch, validate, and validate again without each of the ``blended`` slots.

        Waits for the device once, at the end. ``look`` measures the host's gradients by layer, ``compare`` the seeds'
        outputs against each other.
        """
        steps: list[torch.Tensor] = []
        norms: dict[str, torch.Tensor] = {}
        count = self.settings.batches_per_epoch
        arrays: dict[str, torch.Tensor] = {}
        with self.clock.phase("train"):
            batches = self.data.batches(count, self.settings.batch_size, stream)
            for number in range(1, count + 1):
                with self.clock.phase("data_transfer"):
                    images, labels = next(batches)
                steps.append(self._step(images, labels, norms, arrays if look and number == count else None))
        with self.clock.phase("val"):
            validated = [self._validate({})] + [self._validate({slot_id: False}) for slot_id in blended]
        if compare:
            arrays["similarity"] = output_similarity(self.host.seed_changes(self.data.val_images[:COMPARED]))
        train = torch.stack(steps).mean(0)
        scalars = {"train_loss": train[0], "train_accuracy": train[1]}
        values, rows = read_with(scalars | norms, {"validated": torch.stack(validated)} | arrays)
        val_loss, val_accuracy, *others = rows["validated"]
        similarity = rows.get("similarity", [math.nan])[0]
        return EpochNumbers(
            train_loss=values.pop("train_loss"),
            train_accuracy=values.pop("train_accuracy"),
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            host_grad_norm=values.pop("host"),
            host_lr=self.optimizers.host.param_groups[0]["lr"],
            seed_grad_norms=values,
            val_accuracy_without=dict(zip(blended, others[1::2], strict=True)),
            flow=self.layers.flow(rows["flow"]) if "flow" in rows else None,
            similarity=None if math.isnan(similarity) else similarity,
            amp=None if self.scaling is None else self.scaling.take(),
        )

    def accuracy_of(self, enabled: dict[str, bool]) -> float:
        """Validation accuracy in percent with the slots switched by ``enabled``. Waits for the device."""
        return read_rows(self._validate(enabled)[None])[0][1]

    def measure(self) -> tuple[float, float]:
        """Validation loss in nats and accuracy in percent. Waits for the device."""
        loss, accuracy = read_rows(self._validate({})[None])[0]
        return loss, accuracy

    @torch.no_grad()
    def _validate(self, enabled: dict[str, bool]) -> torch.Tensor:
        with self.host.only(enabled), self._autocast():
            logits = self.host(self.data.val_images).float()
        return torch.stack([cross_entropy(logits, self.data.val_labels), _accuracy(logits, self.data.val_labels)])

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.settings.amp)

    def _step(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        norms: dict[str, torch.Tensor],
        looked_at: dict[str, torch.Tensor] | None,
    ) -> torch.Tensor:
        optimizers = {"host": self.optimizers.host, **self.optimizers.seeds}
        scaler = self.optimizers.scaler
        with self.clock.phase("forward"), self._autocast():
            logits = self.host(images).float()
            loss = cross_entropy(logits, labels)
        with self.clock.phase("backward"):
            for optimizer in optimizers.values():
                optimizer.zero_grad()
            torch.autograd.backward(scaler.scale(loss))
        with self.clock.phase("incubator"), self._autocast():
            self._incubate(labels, scaler)
        with self.clock.phase("optimizer"):
            for name, optimizer in optimizers.items():
                parameters = [p for p in optimizer.param_groups[0]["params"] if p.grad is not None]
                if not parameters:
                    continue
                scaler.unscale_(optimizer)
                if name == "host" and looked_at is not None:
                    looked_at["flow"] = self.layers.measure()
                norms[name] = nn.utils.clip_grad_norm_(parameters, self.settings.max_grad_norm)
                scaler.step(optimizer)
            scaler.update()
        if self.scaling is not None:
            self.scaling.observe()
        return torch.stack([loss.detach(), _accuracy(logits.detach(), labels)])

    def _incubate(self, labels: torch.Tensor, scaler: torch.amp.GradScaler) -> None:
        rehearsal = self.host.rehearse()
        if rehearsal is not None:
            logits, learning = rehearsal
            torch.autograd.backward(scaler.scale(cross_entropy(logits.float(), labels)), inputs=learning)


def _watched(scaler: torch.amp.GradScaler, device: torch.device) -> ScalerSensor | None:
    if not scaler.is_enabled():
        return None
    # A scaler makes its tensor with the first loss: without this an overflow in the first step would go unseen.
    scaler.scale(torch.zeros((), device=device))
    sensor = ScalerSensor(scaler)
    sensor.observe()
    return sensor


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (logits.argmax(1) == labels).float().mean() * 100.0


def warm_host(settings: HostSettings, data: Digits, device: torch.device, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a bare host after its warm-up epochs; they follow from ``seed`` alone."""
    with seeded_init(seed):
        host = Host(settings.channels, settings.n_slots).to(device)
    trainer = EpochTrainer(host, data, settings, device, PhaseClock())
    stream = generator(derive_seed(seed, "warm-up"))
    for _ in range(settings.warmup_epochs):
        trainer.run(stream, ())
    return {name: tensor.detach().clone() for name, tensor in host.state_dict().items()}
