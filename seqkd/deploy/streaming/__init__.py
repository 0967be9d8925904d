"""Recognition of speech that is still being spoken: ``seqkd transcribe --stream``.

``stream.onnx`` of an export directory takes the next features and a state, and gives logits and the new state.
"""
