"""Train a flow of invertible convolutions on handwritten digits, and draw new ones from noise.

With the name of a file as argument, a picture of the new digits is written there.
"""

import sys

import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torchvision.utils import save_image

from convnn.models import FInCFlow

torch.manual_seed(0)
digits = load_digits()  # whole numbers, 0 to 16
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
train, test = images[:1500], images[1500:]

flow = FInCFlow(1, levels=2, steps=4, width=32, values=17)
flow.initialize(train[:256])  # shifts and scales by one batch
optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)

for step in range(250):
    bits = flow.bits_per_dimension(train[torch.randint(len(train), (64,))]).mean()
    optimizer.zero_grad()
    bits.backward()
    torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
    optimizer.step()
    schedule.step()
    if step % 50 == 49:
        with torch.no_grad():
            print(f"step {step + 1}: {flow.bits_per_dimension(test).mean():.2f} bits for each pixel")

exact = flow.double()
x = test.double() + 0.5
error = (exact.inverse(exact.transform(x)[0]) - x).abs().max()
print(f"inverted to {error:.0e}")

samples = exact.sample(100, (8, 8), temperature=0.6)
if len(sys.argv) > 1:
    save_image(samples.repeat_interleave(4, 2).repeat_interleave(4, 3) / 16, sys.argv[1], nrow=20, padding=2)
nearest = KNeighborsClassifier(5).fit(digits.data, digits.target)
agreement = nearest.predict_proba(samples.flatten(1).numpy()).max(1)
print(f"samples whose five nearest digits are the same: {(agreement == 1).mean():.2f}")
