"""Charts of the run page: pure functions from series to a figure, found by their registry.

Each kind is split in two: what to draw is computed into a NamedTuple and tested as data, then turned into a
plotly figure. Importing this package registers every panel; the order of these imports is that of the page.
"""

from app.dashboard.panels import training as training  # isort: skip
from app.dashboard.panels import generative as generative  # isort: skip
from app.dashboard.panels import layers as layers  # isort: skip
from app.dashboard.panels import optimizer as optimizer  # isort: skip
