"""A training by the Trainer of transformers, which uses accelerate."""

import sys

import spy
import torch
from transformers import Trainer, TrainingArguments


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x, labels=None):
        found = self.layer(x)
        return {"loss": (found - labels).square().mean(), "logits": found}


torch.manual_seed(1)
data = [{"x": torch.randn(4), "labels": torch.randn(1)} for _ in range(64)]
arguments = TrainingArguments(
    "hf-out",
    num_train_epochs=2,
    per_device_train_batch_size=8,
    max_grad_norm=0.1,
    use_cpu=True,
    report_to=[],
    save_strategy="no",
    disable_tqdm=True,
)
model = Net()
Trainer(model=model, args=arguments, train_dataset=data).train()
spy.write(sys.argv[1], model)
