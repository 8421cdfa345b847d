"""Where the pages' templates are read, and how."""

from importlib import resources
from pathlib import Path

import jinja2

TEMPLATES = Path(str(resources.files("fundus_diag"))) / "report" / "templates"


def environment():
    """Jinja's environment of both pages: what is not said to be HTML is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
