"""The architectures, made of the toolkit's building blocks.

Modules are named and ordered by depth, in the order in which a signal meets them, so that rows of a heatmap read from
input to output: `layers.0.linear`, `layers.0.norm`, `layers.0.activation`, `stages.0.blocks.1.conv2`,
`blocks.3.attention.query`. Every use of an activation is a module of its own. What does nothing is not there: a net
without normalization has no `norm` rows.
"""
