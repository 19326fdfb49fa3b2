"""A fit by Lightning's Trainer, on one process or several."""

import sys

import lightning
import spy
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, _):
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


if __name__ == "__main__":
    lightning.seed_everything(1)
    devices = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    trainer = lightning.Trainer(
        max_epochs=2,
        gradient_clip_val=0.1,
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Net()
    trainer.fit(model, DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=8))
    spy.write(sys.argv[1], model, trainer.global_rank)
