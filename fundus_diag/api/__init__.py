"""What `import fundus_diag` offers: train, open, ask, explain, score; it knows all other rooms."""

from fundus_diag.utils.keras_settings import start_tensorflow

start_tensorflow()  # before any other module imports it, with all that it says
