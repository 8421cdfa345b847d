"""What is made once for a model, such as its compiled graphs, and goes when the model goes."""

MOST = 16  # of one model: a compiled graph of a large network takes megabytes


def kept(model, key, make):
    """`make()` of the first call with this model and key.

    It is kept in the model itself, where Keras does not look: what is made may refer to the model,
    and both are freed together. Of more than `MOST` the oldest is made anew.

    Args:
        model: Keras model.
        key: hashable; tells apart what is kept of one model.
        make: function of nothing.
    """
    # Past Keras's own `__setattr__`, which would count networks in it as layers of the model.
    there = vars(model).setdefault("__fundus_diag_kept", {})
    if key not in there:
        made = make()
        while len(there) >= MOST:
            del there[next(iter(there))]
        there[key] = made
    return there[key]
