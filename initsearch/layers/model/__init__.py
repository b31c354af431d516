"""What a model holds: its modules, parameters, and how they are stored."""
