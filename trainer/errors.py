"""What can go wrong in the training process, by what its owner can do about it.

TrainerError
├── CheckpointError
│   ├── CheckpointMissing   nothing of that run and step is there
│   └── CheckpointDamaged   it is there, and not what was written
├── DeviceError             the device that was asked for is not there
├── RanksDiffer             the ranks of a training did not begin alike
└── NameTaken               another worker of this name is running
"""


class TrainerError(Exception):
    """Base of everything that the trainer raises on purpose."""


class CheckpointError(TrainerError):
    """A checkpoint cannot be written or read."""


class CheckpointMissing(CheckpointError):
    """There is no such checkpoint on this machine."""


class CheckpointDamaged(CheckpointError):
    """The checkpoint is not what was written: cut short, changed, or holding what may not be unpickled."""


class DeviceError(TrainerError):
    """The device that was asked for is not there."""


class RanksDiffer(TrainerError):
    """The ranks of a training did not begin with the same weights."""


class NameTaken(TrainerError):
    """A worker of this name is running already."""
