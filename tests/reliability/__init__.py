"""What can go wrong, and that nothing is lost."""
