"""Train one of our networks on handwritten digits with the Trainer of Hugging Face transformers."""

import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from transformers import Trainer, TrainingArguments

from convnn.models import create_model


class Classifier(nn.Module):
    """The interface that the Trainer expects of a model: named inputs, and a loss with the logits."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"patch_size": 2, "d_hidden": 48, "d_mlp": 96, "num_layers": 2, "num_heads": 3, "in_channels": 1}
        # A quarter of the channels attends to the 5 most similar patches, the others to all of them.
        self.network = create_model("vit", "BranchAttention", K=5, branch_ratio=0.25, **sizes)

    def forward(self, images, labels=None):
        logits = self.network(images)
        return {"logits": logits} | ({} if labels is None else {"loss": F.cross_entropy(logits, labels)})


def accuracy(predictions) -> dict[str, float]:
    return {"accuracy": (predictions.predictions.argmax(1) == predictions.label_ids).mean()}


torch.manual_seed(0)
digits = load_digits()
samples = [
    {"images": torch.tensor(image, dtype=torch.float32).unsqueeze(0) / 16, "labels": label}
    for image, label in zip(digits.images, digits.target, strict=True)
]
order = torch.randperm(len(samples)).tolist()
train, test = [samples[i] for i in order[:1437]], [samples[i] for i in order[1437:]]

with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        num_train_epochs=10,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=360,
        learning_rate=6e-3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(Classifier(), arguments, train_dataset=train, eval_dataset=test, compute_metrics=accuracy)
    trainer.train()
    print(f"test accuracy {trainer.evaluate()['eval_accuracy']:.3f}")
