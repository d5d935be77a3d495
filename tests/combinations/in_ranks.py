"""One of two ranks that train documents one after another: `python -m tests.combinations.in_ranks RANK FOLDER`."""

import json
import math
import sys
from pathlib import Path

import torch

from gyrostat.spec.parse import parse
from tests.trainer.recording import Recording
from trainer import loop, tasks
from trainer.checkpoints import CheckpointStore
from trainer.control import Control
from trainer.ranks import joined

CPU = torch.device("cpu")


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    documents = json.loads((folder / "documents.json").read_text())
    results = {}
    with joined(rank, 2, device=CPU, store=folder / "meeting") as ranks:
        for name, document in documents.items():
            print(name, json.dumps(document), flush=True)
            spec = parse(document).spec
            recording = Recording()
            loop.train(
                spec,
                run=name.replace(".", "-"),
                task=tasks.build(spec, data_root=None, device=CPU),
                stream=recording,
                checkpoints=CheckpointStore(folder / "checkpoints"),
                control=Control(),
                ranks=ranks,
            )
            if rank == 0:
                gaps = [
                    float(values[metric].max())
                    for values in recording.frames.values()
                    for metric in ("rank.parameter_digest_gap", "rank.gradient_digest_gap")
                    if metric in values
                ]
                finite = all(math.isfinite(loss) for loss in recording.scalars("loss.train").values())
                results[name] = {"gap": max(gaps), "finite": finite}
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
