"""Whole runs out of a backend and into one: Parquet, TensorBoard event files, and an archive that holds everything.

What was measured travels as *points*, a table with the columns `step`, `metric`, `name` (empty for scalars) and
`value`, as `GET /v1/runs/{id}/export` gives it; of a thinned run, where a point is the last of several rows, it has
`rows`, `min`, `mean` and `max` as well, which an import leaves out. It needs pyarrow, and protobuf's classes of
tensorboardX for event files: `pip install 'gyrostat[transfer]'`.
"""
