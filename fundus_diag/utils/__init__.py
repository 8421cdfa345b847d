"""What knows nothing of eyes: files, flags, figures, progress, precision."""
