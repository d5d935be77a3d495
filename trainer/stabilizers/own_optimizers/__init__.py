"""Optimizers that torch lacks. Each is one `torch.optim.Optimizer`: groups, state and hooks work as torch's do."""

from trainer.stabilizers.own_optimizers.lion import Lion
from trainer.stabilizers.own_optimizers.matrices import Matrices, hidden_matrices
from trainer.stabilizers.own_optimizers.sam import Sam
from trainer.stabilizers.own_optimizers.schedule_free import ScheduleFree
from trainer.stabilizers.own_optimizers.together import Together

__all__ = ["Lion", "Matrices", "Sam", "ScheduleFree", "Together", "hidden_matrices"]
