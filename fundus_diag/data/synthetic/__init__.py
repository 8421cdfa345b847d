"""Drawn photographs with lesions, and where they are."""
