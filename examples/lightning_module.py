"""Train one of our networks on handwritten digits in a Lightning module."""

import lightning
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from convnn.models import create_model


class Classifier(lightning.LightningModule):
    """Any network of `convnn.models`, by name."""

    def __init__(self, model: str, layer: str, lr: float = 4e-3, **settings) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = create_model(model, layer, **settings)

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, index):
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def test_step(self, batch, index):
        images, labels = batch
        self.log("accuracy", (self(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


lightning.seed_everything(0, verbose=False)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
train, test = random_split(TensorDataset(images, torch.tensor(digits.target)), [1437, 360])

# Tokens are patches of 2 x 2 pixels; each attends to the 5 most similar, weighed by rank by a learned kernel.
settings = {"K": 5, "patch_size": 2, "d_hidden": 48, "d_mlp": 96, "num_layers": 2, "num_heads": 3, "in_channels": 1}
classifier = Classifier("vit", "ConvNNAttention", **settings)

trainer = lightning.Trainer(
    max_epochs=6, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
)
trainer.fit(classifier, DataLoader(train, batch_size=32, shuffle=True))
(result,) = trainer.test(classifier, DataLoader(test, batch_size=360), verbose=False)
print(f"test accuracy {result['accuracy']:.3f}")
