"""What nobody would send: hypothesis and schemathesis over a real socket against real processes, and over the bytes that others may write.

`ground.py` has the processes and a neighbour who must not notice, `law.py` what every answer must be, the others what is sent.
"""
