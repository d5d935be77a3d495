"""HTTP in and out, one file per resource: handlers parse, call one service, and answer."""
