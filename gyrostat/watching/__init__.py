"""Watching a training loop that is not ours: the probes' stages out of hooks, and a run that makes itself known.

`attach` opens a run's folder, a stream and a probe session, and returns a `Watch`. What happens in the loop is read off
hooks alone, nothing of torch or of the loop is replaced (`stages`):

    forward pass in train mode      a step begins
    end of the last backward pass   gradients are final, not yet clipped
    optimizer.step begins           gradients were clipped, where they changed since
    optimizer.step ends             the step is made; its frame waits for what is logged until the next one begins

A step that was not seen as the metrics' meaning wants it (more backward passes than told, gradients clipped before they
were read) sends the loop's own scalars and nothing else: no value is better than one that means something else.
"""

from gyrostat.watching.opening import attach
from gyrostat.watching.watch import Watch

__all__ = ["Watch", "attach"]
