"""Requests that TensorFlow Serving answers before it serves a model: the first are the slowest.

A file of TFRecords, each a `PredictionLog` of TensorFlow Serving. The few fields that matter are
encoded here, so that its package, which pins a version of TensorFlow, is not needed.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup and, in github:tensorflow/serving,
tensorflow_serving/apis/{prediction_log,predict,model}.proto.
"""

import tensorflow as tf

NAME = "tf_serving_warmup_requests"


def write_requests(path, requests):
    """Writes a file of requests.

    Args:
        path: file, `assets.extra/tf_serving_warmup_requests` of a SavedModel.
        requests: list of (signature, {name: value}); values as `tf.constant` takes them.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(signature, inputs))


def _prediction_log(signature, inputs):
    model = _field(3, signature.encode())  # ModelSpec.signature_name; the server knows the model
    request = _field(1, model)
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # map<string, Tensor>
    return _field(6, _field(1, request))  # PredictionLog.predict_log.request


def _field(number, payload):
    """A field of bytes, a text or a message: its key, its length, itself."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
