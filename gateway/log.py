"""Structured log lines: for people on a terminal, JSON elsewhere."""

import logging
import sys

import structlog


def configure(level: str, once: bool = False) -> None:
    """Sets structlog up for this process; `level` is debug, info, warning or error. `once` if it is never set up again."""
    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=once,
    )
