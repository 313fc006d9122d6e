"""Who is asking: a token becomes a principal, or an error that says why not."""
