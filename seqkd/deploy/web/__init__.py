"""An exported recogniser as a page that runs in a browser, from a folder, without a server: ``seqkd export --web``.

``static/`` holds the page; ``runtime.py`` gets ONNX Runtime Web, which runs the network; ``page.py`` puts both and a
model into one folder.
"""
