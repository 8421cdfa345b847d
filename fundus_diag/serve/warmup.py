"""First answers, made before anybody waits for them: graphs are compiled with them."""

from fundus_diag.export.samples import drawn_photographs
from fundus_diag.serve import views


def warm_up(served):
    """Answers drawn photographs, and makes a map of one as the page does first.

    Args:
        served: `served.Served`.
    """
    photographs = [views.sent(eye, drawn_photographs(2)[k]) for k, eye in enumerate(_eyes(served))]
    found = served.functions["serving_default"](views.rows_of(served, photographs))
    views.answers(served, photographs, found)
    if views.choices(served):
        views.maps(served, photographs, served.labels[0])


def _eyes(served):
    return ("left", "right") if served.pair else ("left",)
