"""Runs an exported metering file where debir_jax is not: needs numpy and onnxruntime alone.

  python on_device_onnx.py metering.onnx previews.npz times.npz

previews.npz: `previews` [k, 2, size, size, 4] in [0, 1], `preview_gain` [k]. Writes `times` [k, n] and `latency_s` [k].
"""

import sys
import time

import numpy as np
import onnxruntime

model_file, source, target = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(model_file, options)
given, times, latency_s = np.load(source, allow_pickle=False), [], []
for previews, gain in zip(given["previews"], given["preview_gain"]):
  values = dict(previews=previews, preview_gain=[gain], white_balance=np.ones(3), ccm=np.eye(3))
  start_s = time.perf_counter()
  times += session.run(None, {name: np.asarray(value, np.float32) for name, value in values.items()})
  latency_s.append(time.perf_counter() - start_s)
np.savez(target, times=np.array(times), latency_s=np.array(latency_s))
