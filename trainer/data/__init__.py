"""Real data that needs no download, split, standardized and dealt out in an order that needs no state.

Order, split and windows are pure functions of the seed and the step, so that a resumed run needs no
stored state of the data.
"""
