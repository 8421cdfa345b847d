"""Requests and answers in the REST form of TensorFlow Serving, by rows or by columns.

https://www.tensorflow.org/tfx/serving/api_rest. Bytes are {"b64": ".."}, in what is answered those
of outputs whose name ends in `_bytes`; what is no number is null.
"""

import base64
import binascii
import json
import math

import numpy as np

BYTES = "_bytes"


class Wrong(Exception):
    """What is wrong with a request, in one line."""


def parse(body, signatures):
    """What is asked for.

    Args:
        body: bytes of a request.
        signatures: {name: {input: (kind, shape)}}, kind "string", "int32" or "float32", shape of a
            row.

    Returns:
        (name of the signature, {input: array (B, ..)}, whether rows are wanted).

    Raises:
        Wrong: it is no JSON, or does not fit the signature.
    """
    request = _json(body)
    if not isinstance(request, dict):
        raise Wrong("the request is no JSON object")
    known = {"signature_name", "instances", "inputs"}
    odd = [name for name in request if name not in known]
    if odd:
        raise Wrong(f"{short(odd[0])}: there are signature_name, and instances or inputs")
    name = request.get("signature_name", "serving_default")
    if not isinstance(name, str) or name not in signatures:
        raise Wrong(f"signature_name {short(name)}: there are {', '.join(signatures)}")
    if ("instances" in request) == ("inputs" in request):
        raise Wrong("one of instances (rows) and inputs (columns) is expected")
    specs, by_rows = signatures[name], "instances" in request
    columns = (_of_rows if by_rows else _of_columns)(request, specs)
    inputs = {x: _array(x, columns[x], *specs[x]) for x in specs}
    counts = {x: len(rows) for x, rows in inputs.items()}
    if len(set(counts.values())) > 1:
        raise Wrong(f"inputs of different numbers of rows: {counts}")
    if not next(iter(counts.values())):
        raise Wrong("there is no row")
    return name, inputs, by_rows


def reply(found, by_rows):
    """JSON bytes of an answer.

    Args:
        found: {output: array (B, ..)}.
        by_rows: of `parse`.
    """
    columns = {name: _plain(name, rows) for name, rows in found.items()}
    if not by_rows:
        answer = {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
    elif len(columns) > 1:
        rows = zip(*columns.values(), strict=True)
        answer = {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}
    else:
        answer = {"predictions": next(iter(columns.values()))}
    return json.dumps(answer, allow_nan=False).encode()


def _json(body):
    def no_number(text):
        raise Wrong(f"{text} is no JSON")

    try:
        return json.loads(body, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"the request is no JSON: {short(error)}") from error


def _of_rows(request, specs):
    rows = request["instances"]
    if not isinstance(rows, list):
        raise Wrong("instances: a list of rows is expected")
    columns = {name: [] for name in specs}
    for k, row in enumerate(rows):
        if len(specs) == 1 and not (isinstance(row, dict) and set(row) == set(specs)):
            row = {next(iter(specs)): row}  # one input needs no name
        if not isinstance(row, dict) or set(row) != set(specs):
            raise Wrong(f"instances[{k}]: an object with {', '.join(specs)} is expected")
        for name, value in row.items():
            columns[name].append(value)
    return columns


def _of_columns(request, specs):
    columns = request["inputs"]
    if len(specs) == 1 and not (isinstance(columns, dict) and set(columns) == set(specs)):
        columns = {next(iter(specs)): columns}
    if not isinstance(columns, dict) or set(columns) != set(specs):
        raise Wrong(f"inputs: an object with {', '.join(specs)} is expected")
    for name, rows in columns.items():
        if not isinstance(rows, list):
            raise Wrong(f"inputs {name}: a list of rows is expected")
    return columns


def _array(name, rows, kind, shape):
    if kind == "string":
        found = np.empty(len(rows), object)
        found[:] = [_bytes(f"{name}[{k}]", value) for k, value in enumerate(rows)]
        return found
    what = f"{'x'.join(map(str, shape))} numbers" if shape else "a number"
    try:
        # As they are first: as floats text such as "1" and true would be numbers as well.
        found = np.asarray(rows) if rows else np.zeros((0, *shape), kind)
    except ValueError as error:
        raise Wrong(f"{name}: {what} in each row are expected") from error
    if found.shape[1:] != tuple(shape) or found.dtype.kind not in "iu" + "f" * (kind != "int32"):
        whole = ", whole ones," if kind == "int32" else ""
        raise Wrong(f"{name}: {what}{whole} in each row expected")
    limits = np.iinfo(np.int32)
    if (
        kind == "int32"
        and found.size
        and not limits.min <= found.min() <= found.max() <= limits.max
    ):
        raise Wrong(f"{name}: numbers of 32 bits are expected")
    return found.astype(kind)


def _bytes(where, value):
    if isinstance(value, str):
        return value.encode("utf-8", "replace")  # half of a pair of surrogates has no bytes
    if not isinstance(value, dict) or list(value) != ["b64"] or not isinstance(value["b64"], str):
        raise Wrong(f'{where}: {{"b64": ".."}} is expected')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Wrong(f"{where}: broken base64") from error


def _plain(name, rows):
    if rows.dtype.kind in "OSU":
        return (
            [_text(name, value) for value in rows.ravel()]
            if rows.ndim == 1
            else [_plain(name, row) for row in rows]
        )
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        return _without_nan(rows.tolist())
    return rows.tolist()


def _text(name, value):
    if name.endswith(BYTES):
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace")


def _without_nan(value):
    if isinstance(value, list):
        return [_without_nan(x) for x in value]
    return value if math.isfinite(value) else None


def short(value):
    """A value as a line may quote it."""
    text = " ".join(str(value).encode("utf-8", "replace").decode().split())
    return text if len(text) <= 60 else f"{text[:60]}.."
