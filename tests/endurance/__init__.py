"""What Rowcast stands: everything broken in turn for minutes, how soon it works again, and whether it lasts."""
