"""initsearch: hyperparameter search that treats weight initialization as a tunable."""
