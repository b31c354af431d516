"""A verdict in words: tables and sentences, for the terminal and for MLflow."""
