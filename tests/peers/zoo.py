"""Checks models of the zoo: the ONNX checker, shapes and finite results in onnxruntime, and the same results as another model
with that model's weights.

Standard input: {"models": [path], "twins": [{"model": path, "weights": path of a model, "npz": path or null}]}
Standard output: {"models": {path: error or null}, "twins": {path: [worst difference, largest result]}}
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

PROVIDERS = ["CPUExecutionProvider"]


def problem(path):
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=PROVIDERS)
    (given,) = session.get_inputs()
    x = np.random.default_rng(0).normal(size=[2] + given.shape[1:]).astype(np.float32)
    (y,) = session.run(None, {given.name: x})
    (declared,) = session.get_outputs()
    if list(y.shape) != [2] + declared.shape[1:]:
        return f"declares {declared.shape}, gives {y.shape}"
    return None if np.isfinite(y).all() and y.std() > 0 else "gives no useful numbers"


def with_weights(path, source):
    """The model at `path` with the weights of `source`, which may keep matrices transposed."""
    model = onnx.load(path)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
    right = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    for tensor in model.graph.initializer:
        values = weights[tensor.name]
        values = values.T if tensor.name in right else values
        assert list(values.shape) == list(tensor.dims), tensor.name
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return model


def run(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=PROVIDERS).run(None, {"input": x})[0]


def difference(twin):
    source = onnx.load(twin["weights"])
    model = with_weights(twin["model"], source)
    if twin["npz"]:
        archive = np.load(twin["npz"])
        x, expected = archive["input/input"], archive["output/output"]
    else:
        dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
        x = np.random.default_rng(1).normal(size=[3] + dims).astype(np.float32)
        expected = run(source, x)
    return [float(abs(run(model, x) - expected).max()), float(abs(expected).max())]


def attempt(path):
    try:
        return problem(path)
    except Exception as error:  # the test shows it
        return str(error)


request = json.load(sys.stdin)
answer = {
    "models": {path: attempt(path) for path in request["models"]},
    "twins": {twin["model"]: difference(twin) for twin in request["twins"]},
}
json.dump(answer, sys.stdout)
