"""The self-test of the probes: small trainings, and every value beside what the slow, obvious way gives.

A *mode* is a way to train (precision, micro-batches, ranks); a *moment* is one step of such a training with all that a
reference needs; a *reference* is a function of a moment, in plain float64, registered beside the metric's name in the
file of its family. Torch is all it takes.
"""
