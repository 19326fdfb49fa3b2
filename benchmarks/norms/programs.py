"""Healthy training programs of different kinds, which know nothing of us.

    esper-otel run -m benchmarks.norms.programs KIND [--seed 1] [--steps 6000]

Their norms have what troubles a limit: a warm-up, a schedule with restarts, drift over four decades, rare hard examples
in a fitted set, two networks against each other, returns that grow, targets that jump.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

TEXT: Final = Path(__file__).parents[2] / "docs"


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    raw = load_digits()
    return torch.as_tensor(raw.images, dtype=torch.float32).flatten(1) / 16, torch.as_tensor(raw.target)


def mlp(steps: int) -> None:
    """Fit digits until hardly one is wrong: norms fall over four decades, and the last hard examples stand out."""
    images, labels = _digits()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        batch = torch.randint(len(labels), (32,))
        optimizer.zero_grad()
        functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()


def restarts(steps: int) -> None:
    """SGD with momentum, a dropout layer and a rate that falls and restarts."""
    images, labels = _digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 500)
    for _ in range(steps):
        batch = torch.randint(len(labels), (32,))
        optimizer.zero_grad()
        functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()


def regression(steps: int) -> None:
    """Fit numbers of a heavy-tailed size with a squared error, as a first draft does."""
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        inputs = torch.randn(64, 8)
        targets = 10 * inputs.sum(1, keepdim=True).exp().clamp_max(50.0)
        optimizer.zero_grad()
        functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()


class Block(nn.Module):
    """One layer of a transformer."""

    def __init__(self, width: int) -> None:
        """Of this width, with four heads."""
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention and network, each beside a path of its own."""
        normed = self.norms[0](x)
        x = x + self.attention(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        out: torch.Tensor = x + self.mlp(self.norms[1](x))
        return out


class GPT(nn.Module):
    """A small language model."""

    def __init__(self, symbols: int, context: int, width: int = 64) -> None:
        """Over so many symbols and positions."""
        super().__init__()
        self.tokens, self.places = nn.Embedding(symbols, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.head = nn.Linear(width, symbols)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Logits of the next symbol."""
        length = text.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.tokens(text) + self.places.weight[:length]
        for block in self.blocks:
            x = block(x, mask)
        logits: torch.Tensor = self.head(x)
        return logits


def gpt(steps: int) -> None:
    """Learn the text of this repository's pages by symbols: warm-up, cosine, clipping at 1."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(TEXT.rglob("*.md")))
    symbols = sorted(set(text))
    data = torch.tensor([symbols.index(symbol) for symbol in text[:300_000]])
    model = GPT(len(symbols), 64)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    warmup = 100
    for step in range(steps):
        rate = step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        optimizer.param_groups[0]["lr"] = 3e-3 * rate
        begins = torch.randint(len(data) - 65, (8,))
        chunk = torch.stack([data[begin : begin + 65] for begin in begins])
        optimizer.zero_grad()
        functional.cross_entropy(model(chunk[:, :-1]).flatten(0, 1), chunk[:, 1:].flatten()).backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def gan(steps: int) -> None:
    """A generator against a critic, on a ring of eight Gaussians."""
    maker = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    judge = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    makes = optim.Adam(maker.parameters(), lr=1e-3, betas=(0.5, 0.999))
    judges = optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for _ in range(steps):
        angle = torch.randint(8, (64,)) * math.pi / 4
        real = 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(64, 2)
        fake = maker(torch.randn(64, 8))
        judges.zero_grad()
        (functional.softplus(-judge(real)) + functional.softplus(judge(fake.detach()))).mean().backward()
        judges.step()
        makes.zero_grad()
        functional.softplus(-judge(fake)).mean().backward()
        makes.step()


def recurrent(steps: int) -> None:
    """An LSTM that recalls a symbol after 24 steps: a long plateau, then sudden learning."""
    cell, head = nn.LSTM(8, 48, batch_first=True), nn.Linear(48, 8)
    both = [*cell.parameters(), *head.parameters()]
    optimizer = optim.RMSprop(both, lr=2e-3)
    for _ in range(steps):
        symbols = torch.randint(8, (32, 24))
        optimizer.zero_grad()
        states, _ = cell(functional.one_hot(symbols, 8).float())
        functional.cross_entropy(head(states[:, -1]), symbols[:, 0]).backward()
        clip_grad_norm_(both, 0.25)
        optimizer.step()


def policy(steps: int) -> None:
    """PPO's loss on pages of a task whose rewards grow: ten minibatches a page, whose norms rise within it."""
    body = nn.Sequential(nn.Linear(6, 64), nn.Tanh())
    actor, critic = nn.Linear(64, 3), nn.Linear(64, 1)
    agent = nn.ModuleList([body, actor, critic])
    optimizer = optim.Adam(agent.parameters(), lr=2.5e-3)
    for page in range(steps // 10):
        states = torch.randn(320, 6)
        with torch.no_grad():
            old = functional.log_softmax(actor(body(states)), 1)
            actions = torch.multinomial(old.exp(), 1)
            rewards = (1 + 100 * page / steps) * (actions == states[:, :3].argmax(1, keepdim=True)).float()
            advantages = rewards - critic(body(states))
        for chosen in torch.randperm(320).split(32):
            new = functional.log_softmax(actor(body(states[chosen])), 1).gather(1, actions[chosen])
            ratio = (new - old[chosen].gather(1, actions[chosen])).exp()
            gain = torch.min(advantages[chosen] * ratio, advantages[chosen] * ratio.clamp(0.8, 1.2)).mean()
            loss = 0.5 * functional.mse_loss(critic(body(states[chosen])), rewards[chosen]) - gain
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def values(steps: int) -> None:
    """Q-learning in a corridor with one reward at its end, and a target network that jumps every 250 updates."""
    size = 20
    online, target = (nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 2)) for _ in range(2))
    target.load_state_dict(online.state_dict())
    optimizer = optim.Adam(online.parameters(), lr=1e-3)
    places = torch.eye(size)
    for step in range(steps):
        if step % 250 == 0:
            target.load_state_dict(online.state_dict())
        place, action = torch.randint(size - 1, (32,)), torch.randint(2, (32,))
        after = (place + 2 * action - 1).clamp(0, size - 1)
        is_end = (after == size - 1).float()
        with torch.no_grad():
            aim = is_end + 0.97 * (1 - is_end) * target(places[after]).amax(1)
        found = online(places[place]).gather(1, action[:, None]).squeeze(1)
        optimizer.zero_grad()
        functional.smooth_l1_loss(found, aim).backward()
        optimizer.step()


KINDS: Final[dict[str, Callable[[int], None]]] = {
    kind.__name__: kind for kind in (mlp, restarts, regression, gpt, gan, recurrent, policy, values)
}


def main() -> None:
    """Train one program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=6000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    KINDS[options.kind](options.steps)


if __name__ == "__main__":
    main()
