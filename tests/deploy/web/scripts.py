"""The page's scripts, run by Node.js."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from importlib import resources
from typing import Any

import numpy as np
import pytest

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")

PROGRAM = """
"use strict";
const fs = require("fs");
const vm = require("vm");
const { sources, body, input } = JSON.parse(fs.readFileSync(0, "utf8"));
for (const source of sources) vm.runInThisContext(source);
const given = (value) => {
  if (value && value.float32 !== undefined) {
    const bytes = Buffer.from(value.float32, "base64");
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  }
  if (Array.isArray(value)) return value.map(given);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, given(one)]));
  }
  return value;
};
const out = (key, value) => {
  if (!ArrayBuffer.isView(value)) return value;
  const array = Float32Array.from(value);
  return { float32: Buffer.from(array.buffer).toString("base64") };
};
const found = vm.runInThisContext(`(seqkd, input) => { ${body} }`)(globalThis.seqkd, given(input));
process.stdout.write(JSON.stringify(found, out));
"""


def run(names: list[str], body: str, value: Any) -> Any:
    """Run the body of a function of ``seqkd`` and ``input``; NumPy arrays become Float32Arrays, and back."""
    assert NODE is not None
    static = resources.files("seqkd.deploy.web") / "static"
    sources = [(static / f"{name}.js").read_text("utf-8") for name in names]
    given = json.dumps({"sources": sources, "body": body, "input": value}, default=_encode)
    done = subprocess.run([NODE, "-e", PROGRAM], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, object_hook=_decode)


def _encode(array: np.ndarray) -> dict[str, str]:
    return {"float32": base64.b64encode(np.asarray(array, np.float32).tobytes()).decode()}


def _decode(found: dict[str, Any]) -> Any:
    return np.frombuffer(base64.b64decode(found["float32"]), np.float32) if "float32" in found else found
