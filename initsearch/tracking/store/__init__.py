"""MLflow's records of a study."""
