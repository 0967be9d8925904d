"""Exported recognisers in the form that sherpa-onnx runs: ``seqkd export --sherpa``.

sherpa-onnx (https://github.com/k2-fsa/sherpa-onnx) recognises speech on phones, small boards and in a dozen
programming languages. Of its CTC model types the one called Zipformer CTC asks for least: features (B, T, D) and
lengths in, log-probabilities (B, T', C) and their lengths out, whatever the network is; blank is the class that
``tokens.txt`` calls ``<blank>``.
"""
