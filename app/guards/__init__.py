"""What every request passes before a handler sees it, as pure ASGI middleware, outermost first.

`observation`, `headers` (of every answer), `failsafe`, `hosts` (Host, Origin), `tokens`, and `bodies` (size, time,
type, text).
"""
