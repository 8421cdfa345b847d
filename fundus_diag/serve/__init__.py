"""A web page and the REST form of TensorFlow Serving for a run or an export."""
