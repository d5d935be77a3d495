"""A training loop of one's own, watched: the five lines that name `gyrostat` or `watch` are all that watching adds.

`python examples/plain_torch.py`; with a backend on 127.0.0.1:8000 (or at GYROSTAT_SERVER) the run is on its dashboard
while it trains, otherwise it waits in `gyrostat-runs/` for `gyrostat sync gyrostat-runs`.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import gyrostat

images, digits = load_digits(return_X_y=True)
inputs, targets = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(digits)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
watch = gyrostat.attach(model, optimizer, loss=lambda: criterion(model(inputs[:64]), targets[:64]), name="plain torch")

for _epoch in range(4):
    for batch in torch.randperm(1500).split(64):
        optimizer.zero_grad()
        loss = criterion(model(inputs[batch]), targets[batch])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        watch.log({"loss.train": loss})
    with torch.no_grad():
        accuracy = (model(inputs[1500:]).argmax(1) == targets[1500:]).float().mean()
    watch.log({"accuracy.validation": accuracy})
    print(f"accuracy {accuracy:.3f}")
watch.finish()
