"""Checks converted models: the ONNX checker wherever the original passes it, onnxruntime against the outputs that hanc computed,
and weights of the original that are still there.

Standard input: {"prepare": folder, "archives": {name: npz}} writes the arrays below input/ of each archive as .npy files and answers
{name: {input: path}}, with "random": npz and "shape" after writing such an archive with an input x; {"models": [{"original", "converted", "archive", "computed"}]} answers one record a model.
"""

import json
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper


def prepare(folder, archives):
    answer = {}
    for name, path in archives.items():
        answer[name] = {}
        for key, array in inputs(path).items():
            answer[name][key] = os.path.join(folder, f"{name}.{len(answer[name])}.npy")
            np.save(answer[name][key], array)
    return answer


def inputs(path):
    archive = np.load(path)
    return {key.removeprefix("input/"): archive[key] for key in archive.files if key.startswith("input/")}


def checker(path):
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:  # the test shows it
        return str(error)[:500]
    return None


def weights(path):
    graph = onnx.load(path).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def changed(original, converted):
    """Weights of both files that are not the same, and how many are."""
    before, after = weights(original), weights(converted)
    both = before.keys() & after.keys()
    same = lambda a, b: a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return [name for name in both if not same(before[name], after[name])], len(both)


def worst(path, archive, computed):
    """The worst difference between onnxruntime and hanc, relative to the largest number of that output (at least 1)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = inputs(archive)
    expected = session.run(names, {i.name: given[i.name] for i in session.get_inputs()})
    found = np.load(computed)
    ratios = [0.0]
    for name, array in zip(names, expected):
        if isinstance(array, np.ndarray) and array.dtype.kind == "f":
            array = array.astype(np.float64)
            difference = np.abs(found[name].astype(np.float64) - array).max()
            ratios.append(float(difference / max(1.0, np.abs(array).max())))
    return max(ratios)


def record(model):
    original, converted = model["original"], model["converted"]
    answer = {"original_checker": checker(original), "checker": checker(converted)}
    answer["changed"], answer["kept"] = changed(original, converted)
    try:
        answer["worst"] = worst(converted, model["archive"], model["computed"])
    except Exception as error:  # the test shows it
        answer["error"] = str(error)[:500]
    return answer


request = json.load(sys.stdin)
if "random" in request:
    numbers = np.random.default_rng(0).normal(size=request["shape"]).astype(np.float32)
    np.savez(request["random"], **{"input/x": numbers})
if "prepare" in request:
    answer = prepare(request["prepare"], request["archives"])
else:
    answer = [record(model) for model in request["models"]]
json.dump(answer, sys.stdout)
