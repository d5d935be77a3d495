"""How the agent starts trainings and keeps hold of them.

The agent knows the protocol in `base` only. `local` runs each training in one child process on this machine
(`child` is that process); a launcher of several ranks stands beside it and changes nothing above.
"""
