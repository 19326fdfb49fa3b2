"""A training that logs its loss by its framework: ``logged.py OUT transformers`` or ``logged.py OUT lightning``."""

import json
import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
torch.manual_seed(1)
out = Path(sys.argv[1])
data = [{"x": torch.randn(4), "labels": torch.randn(1)} for _ in range(64)]


def with_transformers():
    """Losses by step as the Trainer keeps them; it writes them for TensorBoard as well."""
    from transformers import Trainer, TrainingArguments

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def forward(self, x, labels=None):
            found = self.layer(x)
            return {"loss": (found - labels).square().mean(), "logits": found}

    arguments = TrainingArguments(
        str(out.parent / "hf"),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        logging_steps=4,
        eval_strategy="epoch",
        use_cpu=True,
        report_to=["tensorboard"],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(model=Net(), args=arguments, train_dataset=data, eval_dataset=data)
    trainer.train()
    return [
        (name, row["step"], row[name])
        for row in trainer.state.log_history
        for name in ("loss", "eval_loss")
        if name in row
    ]


def with_lightning():
    """Losses by step as the logger has them."""
    import lightning
    from lightning.pytorch.loggers import TensorBoardLogger

    told = []

    class Logger(TensorBoardLogger):
        def log_metrics(self, metrics, step=None):
            told.extend((name, step, metrics[name]) for name in ("train_loss", "val_loss") if name in metrics)
            super().log_metrics(metrics, step)

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch, _):
            loss = (self.layer(batch["x"]) - batch["labels"]).square().mean()
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch, _):
            self.log("val_loss", (self.layer(batch["x"]) - batch["labels"]).square().mean())

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01)

    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        logger=Logger(str(out.parent / "tb")),
        log_every_n_steps=4,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    trainer.fit(Net(), loader, loader)
    return told


found = {"transformers": with_transformers, "lightning": with_lightning}[sys.argv[2]]()
out.with_name(f"{out.stem}.0.json").write_text(json.dumps(found))
