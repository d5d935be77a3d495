"""From the training process to the backend: disk first, never in the way of training.

    training thread --emit--> inbox --encoder thread--> spool (disk) --sender thread--> transport (HTTP)

`stream.Stream` is what a training holds. The inbox is bounded and never waits; the encoder fetches values from the
device, groups frames into batches and appends them to the spool under numbers without gaps; the sender posts what is in
the spool in that order and settles what the backend has acknowledged. What stays on disk when a process ends, or is
killed, is sent by `stream.sync`. Every frame is counted in a `ledger.Ledger`, whose sums always agree.
"""
