"""The messages between a training process and the backend, and how they become bytes.

A training process numbers everything it says about one attempt of a run: *messages* carry `producer`
and `sequence`, counted from 1 without gaps. A message is a layout (what the columns mean), a batch of
frames (what was measured) or a list of events (what happened). The backend stores each sequence number
once, so a repeat is harmless, and reports a gap, so a loss is seen. Nothing here imports torch or HTTP.
"""
