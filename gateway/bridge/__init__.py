"""②–④ Postgres → Redis: one active bridge turns what was committed into an ordered log, and the log into events."""
