"""Writes the node tests of the onnx package: python node_tests.py FOLDER

Each becomes FOLDER/NAME/model.onnx with its operands and results, input_I.pb and output_I.pb. Those with values that are no
tensors (sequences, optional values) get no data.
"""

import pathlib
import sys
import warnings

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases


def tensor(value):
    if isinstance(value, TensorProto):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return numpy_helper.from_array(np.asarray(value))
    return None


def write(case, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    inputs, outputs = case.data_sets[0]
    files = [(f"{kind}_{i}.pb", tensor(v)) for kind, all in (("input", inputs), ("output", outputs)) for i, v in enumerate(all)]
    if all(t is not None for _, t in files):
        for name, t in files:
            (folder / name).write_bytes(t.SerializeToString())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    np.random.seed(0)
    for case in collect_testcases(None):
        write(case, pathlib.Path(sys.argv[1]) / case.name)
