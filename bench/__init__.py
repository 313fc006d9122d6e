"""What a change costs and how long it takes: `python -m bench`.

- Ratios hold within one run; absolute figures are printed with the machine. No time is asserted.
"""
