"""Lightning's Trainer, watched by a callback: one line. Needs `gyrostat[lightning]`."""

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gyrostat.integrations.lightning import GyrostatCallback

images, digits = load_digits(return_X_y=True)
inputs, targets = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(digits)


class Classifier(pl.LightningModule):
    """A small network on handwritten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """The loss of a batch."""
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Measured on data held out."""
        outputs = self.network(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(outputs, batch[1]))
        self.log("accuracy/held_out", (outputs.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def first_batch(module: nn.Module) -> Tensor:
    """The training loss on a fixed batch, for curvature."""
    return nn.functional.cross_entropy(module.network(inputs[:64]), targets[:64])


pl.seed_everything(0, verbose=False)
trainer = pl.Trainer(
    max_epochs=3,
    accelerator="cpu",
    accumulate_grad_batches=2,
    gradient_clip_val=1.0,
    callbacks=[GyrostatCallback(loss=first_batch, name="Lightning")],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(
    Classifier(),
    DataLoader(TensorDataset(inputs[:1500], targets[:1500]), batch_size=50, shuffle=True),
    DataLoader(TensorDataset(inputs[1500:], targets[1500:]), batch_size=300),
)
