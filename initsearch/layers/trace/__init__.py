"""What happens in a forward pass: which modules run, in which order, and what follows each."""
