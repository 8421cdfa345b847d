"""What a network costs: they take turns, the fastest answer counts, equal ones are asked once."""

import itertools
import json
from types import SimpleNamespace

from fundus_diag.report import compare
from fundus_diag.runs import speed
from fundus_diag.runs.variants import Variant


def test_networks_take_turns_and_the_fastest_answer_counts(monkeypatch):
    # Seconds of each network's answers; the first one prepares its graph.
    lasts = {"small": [9, 0.5, 0.4, 3, 0.4, 0.6], "large": [9, 8, 1.6, 2, 5, 1.7]}
    clock, asked, left = [0.0], [], {name: iter(x) for name, x in lasts.items()}

    def inference(model):
        def answer(inputs):
            assert inputs.shape == (32, 8, 8, 3)
            asked.append(model.name)
            clock[0] += next(left[model.name])
            return inputs

        return answer

    monkeypatch.setattr(speed, "inference", inference)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    models = [SimpleNamespace(name=x, input=SimpleNamespace(shape=(None, 8, 8, 3))) for x in lasts]
    small, large = speed.milliseconds(models)
    assert (round(small, 6), round(large, 6)) == (1000 * 0.4 / 32, 1000 * 1.6 / 32)
    assert asked == ["small", "large"] * 6


def test_variants_of_one_network_have_one_figure(monkeypatch):
    configs = {"a": 112, "b": 112, "c": 160}
    monkeypatch.setattr(compare, "read_config", lambda run: configs[run])
    monkeypatch.setattr(compare, "network", lambda size: {"image_size": size})
    monkeypatch.setattr(compare, "build_model", lambda **x: json.dumps(x))
    count, built = itertools.count(1), []

    def milliseconds(models):
        built.extend(models)
        return [float(next(count)) for _ in models]

    monkeypatch.setattr(compare, "milliseconds", milliseconds)
    assert compare._milliseconds([Variant(x, (x,)) for x in configs]) == [1.0, 1.0, 2.0]
    assert len(built) == 2
