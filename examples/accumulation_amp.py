"""Gradient accumulation, float16 with a loss scaler (bfloat16 on a CPU), clipping, and metrics of one's own.

`attach` is told how many backward passes make a step, and of the scaler: gradients are then those of the whole batch,
unscaled, before clipping, whatever the loop does to them.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import gyrostat

MICRO_BATCHES = 4
device = "cuda" if torch.cuda.is_available() else "cpu"
number_format = torch.float16 if device == "cuda" else torch.bfloat16

images, digits = load_digits(return_X_y=True)
inputs = torch.tensor(images, dtype=torch.float32, device=device).view(-1, 1, 8, 8) / 16
targets = torch.tensor(digits, device=device)

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(),
    nn.Flatten(), nn.Linear(144, 10),
).to(device)  # fmt: skip
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scaler = torch.amp.GradScaler(device)

with gyrostat.attach(
    model,
    optimizer,
    loss=lambda x, y: nn.functional.cross_entropy(model(x), y),
    batch=(inputs[:128], targets[:128]),
    accumulation=MICRO_BATCHES,
    scaler=scaler,
    name="accumulation and loss scaling",
    config={"micro-batches": MICRO_BATCHES, "number format": str(number_format)},
) as watch:
    for _step in range(40):
        optimizer.zero_grad()
        total = torch.zeros((), device=device)
        for batch in torch.randint(1500, (4 * 32,), device=device).split(32):
            with torch.autocast(device, number_format):
                loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch]) / MICRO_BATCHES
            scaler.scale(loss).backward()
            total += loss.detach()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        watch.log({"loss.train": total, "my/samples": 128.0})
    model.eval()
    with torch.no_grad():
        accuracy = (model(inputs[1500:]).argmax(1) == targets[1500:]).float().mean()
    watch.log({"accuracy.validation": accuracy})
print(f"accuracy {accuracy:.3f}")
