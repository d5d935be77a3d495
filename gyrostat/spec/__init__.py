"""The run spec: what to train and how, declared, validated and described without torch.

One file per family of the stabilizer toolkit. Each technique is a frozen pydantic model: its fields are its settings,
its `entry` is its catalogue text. The maths of the same family is in `trainer/stabilizers/<family>.py`.
"""
