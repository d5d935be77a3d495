"""Which device a training runs on."""

from typing import Literal

import torch

from trainer.errors import DeviceError


def choose(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device; auto is the accelerator where torch finds one.

    Raises:
        DeviceError: cuda was asked for and torch finds none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        built = "is built for CUDA but finds no device" if torch.version.cuda else "is built without CUDA"
        raise DeviceError(
            f"device 'cuda' was asked for, but torch {torch.__version__} {built}; use --device auto or cpu"
        )
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def of_rank(device: torch.device, rank: int) -> torch.device:
    """The device of this process among several of one machine: the CPU, which all share, or its own accelerator."""
    if device.type != "cuda":
        return device
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def name(device: torch.device) -> str:
    """`cpu`, or the accelerator's product name."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
