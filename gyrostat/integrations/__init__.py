"""`gyrostat.attach` as callbacks of training frameworks: each a thin translation of the framework's hooks.

A framework is imported by its own module alone, and is an extra of this package: `gyrostat[lightning]`,
`gyrostat[transformers]`.
"""
