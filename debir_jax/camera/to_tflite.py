"""StableHLO text to a TensorFlow Lite file: `python to_tflite.py SOURCE.mlir TARGET.tflite`.

Runs in the environment of litert-converter 0.5.0, which has none of this package. The converter's interface is private;
hence the pinned version.
"""

import pathlib
import sys


def convert(text: str) -> bytes:
  """The file's content."""
  from litert_converter.mlir import ir, passmanager
  from litert_converter.mlir._mlir_libs import converter_api_ext as converter
  context = ir.Context()
  converter.prepare_mlir_context(context)
  with context, ir.Location.unknown():
    module = ir.Module.parse(text)
    manager = passmanager.PassManager("builtin.module")
    converter.run_convert_to_tfl_passes(module, manager, converter.ConvertToTFLConfig())
    return converter.export_flatbuffer_to_bytes(module.operation)


if __name__ == "__main__":
  source, target = map(pathlib.Path, sys.argv[1:])
  target.write_bytes(convert(source.read_text()))
