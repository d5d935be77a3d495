"""The maths of the toolkit's techniques, one file per family, named as the family's settings in `gyrostat/spec/`.

Building blocks (`normalization`, `activations`, `dropout`, `connections`, `attention`) turn settings into what a model
is made of. Loop techniques (`initialization`, `gradients`, `optimizers`, `schedules`, `losses`, `systems`) are
functions that the training loop calls. Each file holds one `Registry` from its settings classes to the maths, and one
function that looks into it; nobody outside a family names its techniques.
"""
