"""Whole runs out of a backend and into one: Parquet, TensorBoard event files, and an archive that holds everything.

What was measured travels as *points*, a table with the columns `step`, `metric`, `name` (empty for scalars) and
`value`, as `GET /v1/runs/{id}/export` gives it. It needs pyarrow, and protobuf's classes of tensorboardX for event
files: `pip install 'gyrostat[transfer]'`.
"""
