"""The machine: `bridge` carries changes from Postgres to Redis, `fanout` from Redis to connections, `http` answers requests."""
