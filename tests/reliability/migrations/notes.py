"""Two small tables that are published, and the streams of the examples."""

from streams.catalog import load
from tests.sql.published import declare

NOTES = declare("public.notes", "id owner body", owner="owner", name="notes")
TASKS = declare("public.tasks", "id owner body", owner="owner", name="tasks")
CREATE = """
    create table notes (id bigint primary key, owner bigint, body text); insert into notes values (1, 1, 'x');
    create table tasks (id bigint primary key, owner bigint, body text); insert into tasks values (1, 1, 'x')
"""
EXAMPLES = load("streams")
