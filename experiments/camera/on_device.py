"""Runs an exported metering file where debir_jax is not: needs numpy and ai-edge-litert (TensorFlow Lite) alone.

  python on_device.py metering.tflite previews.npz times.npz

previews.npz: `previews` [k, 2, size, size, 4] in [0, 1], `preview_gain` [k]. Writes `times` [k, n] and `latency_s` [k].
"""

import sys
import time

from ai_edge_litert.interpreter import Interpreter
import numpy as np

model_file, source, target = sys.argv[1:]
interpreter = Interpreter(model_file, num_threads=2)
interpreter.allocate_tensors()
# In the order of the function's arguments: previews, preview_gain, white_balance, ccm.
inputs = sorted(interpreter.get_input_details(), key=lambda tensor: tensor["name"])
output = interpreter.get_output_details()[0]["index"]
given, times, latency_s = np.load(source, allow_pickle=False), [], []
for previews, gain in zip(given["previews"], given["preview_gain"]):
  values = previews, [gain], np.ones(3), np.eye(3)
  start_s = time.perf_counter()
  for tensor, value in zip(inputs, values):
    interpreter.set_tensor(tensor["index"], np.asarray(value, np.float32))
  interpreter.invoke()
  times.append(interpreter.get_tensor(output))
  latency_s.append(time.perf_counter() - start_s)
np.savez(target, times=np.array(times), latency_s=np.array(latency_s))
