"""One of two ranks of a program that watches its DistributedDataParallel model.

`python -m tests.gyrostat.watching.rank RANK MEETING_FILE FOLDER`; rank 0 prints how long each step's gradients
really were after its first micro-batch, and in the end.
"""

import json
import os
import sys

import torch
import torch.distributed
from torch import nn

import gyrostat
from tests.gyrostat.watching.conftest import EVERY
from tests.gyrostat.watching.test_watch import batches, loss_of, network


def norm(model: nn.Module) -> float:
    return float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())


def main(rank: int, meeting: str, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    model = network()
    model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=folder.endswith("views"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    norms = []
    with gyrostat.attach(model, optimizer, server="", folder=folder, probes=EVERY, accumulation=2) as watch:
        for step in batches(4, micro=4):
            optimizer.zero_grad()
            with model.no_sync():
                loss_of(model, *step[2 * rank]).backward()
            first = norm(model)
            loss_of(model, *step[2 * rank + 1]).backward()
            norms.append((first, float(nn.utils.clip_grad_norm_(model.parameters(), 0.01))))
            optimizer.step()
            watch.log({"loss.train": 1.0})
    assert (watch.folder is None) == (rank == 1)
    if rank == 0:
        print(json.dumps(norms), flush=True)
    torch.distributed.barrier()  # neither goes while the other still needs it
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
    # All that is tested is over. Threads of torch's own, which an interpreter ends beside, now and then abort it.
    os._exit(0)
