"""The smallest model that onnx itself finds sound."""

from __future__ import annotations


def onnx_model(size: int = 0) -> bytes:
    """One that does nothing; of exactly ``size`` bytes, where that is some hundreds or more."""
    from onnx import TensorProto, checker, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [result])
    model = helper.make_model(graph)
    checker.check_model(model)
    model.doc_string = "-" * size
    model.doc_string = "-" * max(0, 2 * size - model.ByteSize())
    return bytes(model.SerializeToString())
