"""What runs inside anybody's training process, and what both sides of the wire speak.

Importing this package never imports torch: only `gyrostat.probes` and `gyrostat.attach` need it.
"""

__version__ = "0.1.0"
