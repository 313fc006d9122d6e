"""What is published: one file per domain, each declaring its streams.

To publish another table, add a file here that makes a `Stream`, and run `rowcast migrate`. Nothing else.
"""
