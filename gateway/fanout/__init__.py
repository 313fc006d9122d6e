"""⑤–⑧ Redis → connections: what one web process hears, it writes to everybody who listens."""
