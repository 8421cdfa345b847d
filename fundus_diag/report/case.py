"""The case report: what a run says of one person's photographs, as a page to keep or to print."""

import datetime

from markdown_it import MarkdownIt

from fundus_diag.report.environment import environment
from fundus_diag.utils.version import __version__


def case_page(served, answers, chosen):
    """HTML of a case report, whole in itself.

    Args:
        served: what answered: it has `name`, `labels`, `config`, `card` (Markdown), `validation`.
        answers: list of dicts of `answers.card_of`, with `pictures` (list of {"eye", "url"}) and
            `maps` (list of {"label", "eye", "url"}).
        chosen: (method, layer, filter) of the maps.
    """
    method, layer, filter = chosen
    how = [method.replace("_", " "), layer or "all its layers", f"filter {filter}"]
    return (
        environment()
        .get_template("case.html.j2")
        .render(
            name=served.name,
            encoder=served.config["encoder"],
            size=served.config["image_size"],
            grade=served.config["task"] == "grade",
            drawn=bool(served.config["data"].get("drawn")),
            validated=served.validation is not None,
            answers=answers,
            maps_by=", ".join(how),
            # HTML in it stays text: the card holds names of labels, which anybody may choose.
            card=MarkdownIt("commonmark", {"html": False}).enable("table").render(served.card),
            made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=__version__,
        )
    )
