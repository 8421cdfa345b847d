"""What `import fundus_diag` offers: train, open, ask, explain, score; it knows all other rooms."""
