"""What a run can be exported as."""

FORMATS = {  # precisions of each, the default first
    "saved_model": ("float32", "auto", "bfloat16"),
    "onnx": ("float32",),
    "openvino": ("float32", "int8"),
}
PRECISIONS = tuple(dict.fromkeys(x for precisions in FORMATS.values() for x in precisions))
MODULES = {"onnx": ("tf2onnx", "onnxruntime"), "openvino": ("openvino",)}  # that have to be there
