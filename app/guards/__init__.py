"""What every request passes before a handler sees it, as pure ASGI middleware, outermost first.

`headers` (of every answer), `hosts` (Host, Origin), `tokens`, `bodies` (size, time, type, text).
"""
