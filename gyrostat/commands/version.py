"""`gyrostat version`."""

import argparse

import gyrostat

HELP = "Print the version."


def configure(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments."""


def run(options: argparse.Namespace) -> int:
    """Prints it."""
    print(gyrostat.__version__)
    return 0
