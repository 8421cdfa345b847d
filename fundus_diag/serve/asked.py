"""What the page asks: JSON with one or two photographs, and which map is wanted of them."""

import base64
import binascii
import json

from fundus_diag.data.labels import EYES
from fundus_diag.serve import views
from fundus_diag.serve.guard import Refused


def asked(body, pair):
    """What is asked for.

    Args:
        body: bytes of a request.
        pair: whether the run reads both eyes.

    Returns:
        (the request as a dict, its photographs as a list of `views.Sent`).

    Raises:
        Refused: it is no JSON, or no photographs that can be answered together.
    """
    try:
        what = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the request is no JSON") from error
    given = what.get("photographs") if isinstance(what, dict) else None
    if not isinstance(given, list) or not all(isinstance(x, dict) for x in given):
        raise Refused(400, "an object with a list of photographs is expected")
    if not given:
        raise Refused(422, "no photograph")
    if len(given) > 2:
        raise Refused(422, "one or two photographs are answered at a time")
    eyes = [x.get("eye", "") for x in given]
    if not all(eye in (*EYES, "") for eye in eyes):
        raise Refused(422, "the eye of a photograph: left, right or nothing")
    if pair and "" in eyes:
        raise Refused(422, "the run reads both eyes: say which eye each photograph shows")
    if len(set(eyes)) < len(eyes) and eyes[0]:
        raise Refused(422, f"two photographs of the {eyes[0]} eye")
    return what, [views.sent(x.get("eye", ""), _content(x)) for x in given]


def _content(photograph):
    data = photograph.get("data")
    if not isinstance(data, str):
        raise Refused(400, "a photograph is an object with eye and data, base64")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, "a photograph: broken base64") from error


def map_choice(what):
    """(method, layer, filter) of a request; see `views.maps`."""
    method, layer = what.get("method", "layer_cam"), what.get("layer", "")
    chosen = what.get("filter", "median")
    if not all(isinstance(x, str) for x in (method, layer, chosen)):
        raise Refused(400, "method, layer and filter are names")
    if chosen not in views.FILTERS:
        raise Refused(422, f"filter: there are {', '.join(views.FILTERS)}")
    return method, layer, chosen
