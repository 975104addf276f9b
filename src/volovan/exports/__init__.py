"""Networks in files that other programs run: written, verified, made smaller, opened again.

Everything here works on networks in use (`volovan.room.ready`); `volovan.export` and the command line find them by
their words.
"""

GRAPHS = ("onnx", "torch-export", "aotinductor", "openvino")
"""formats that a runtime computes with, see formats.py"""
FOLDERS = ("timm", "huggingface", "package")
TO = (*GRAPHS, *FOLDERS, "original")
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-weights")
FILES = (".onnx", ".xml", ".pt2")
"""endings of files that can be opened"""
PACKAGED = "model.safetensors"
"""the checkpoint in a package"""
