"""Random numbers as a function of where they are used, and of nothing else."""

import random

import numpy as np
import torch

_MASK = 0xFFFFFFFFFFFFFFFF


def mixed(*values: int) -> int:
    """63 bits in which every bit depends on every value. Source: the finaliser of splitmix64."""
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def start_generators(value: int) -> None:
    """Start the global generators of torch (the CPU's), numpy and Python: the network draws from
    torch's, and a user's own data set or augmentation may from any."""
    torch.default_generator.manual_seed(value)
    np.random.seed(value & 0xFFFFFFFF)  # noqa: NPY002 - the global one is meant
    random.seed(value)
