"""Writes the numbers of a GGUF file in another format, so that llama.cpp reads the very weights that fma-convert takes.

    gguf_copy.py SmolLM2-135M-Instruct.Q4_1.gguf SmolLM2-135M-Instruct.BF16.gguf --type bf16
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np

# Of the matrices, and of the embedding, which llama.cpp keeps finer than 4 bits too.
TYPES = {
    "bf16": ("BF16", "BF16"),
    "f16": ("F16", "F16"),
    "q8_0": ("Q8_0", "Q8_0"),
    "q4_0": ("Q4_0", "Q8_0"),
}
EMBEDDINGS = ("token_embd.weight", "output.weight")
ABOUT_THE_FILE = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")


def write_copy(source: Path, out: Path, kind: str) -> None:
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if not name.startswith(ABOUT_THE_FILE):
            element = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], element)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim == 1:  # llama.cpp keeps norms in float32
            writer.add_tensor(tensor.name, values)
        else:
            wanted = gguf.GGMLQuantizationType[TYPES[kind][tensor.name in EMBEDDINGS]]
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=Path, help="a GGUF file")
    options.add_argument("out", type=Path, help="the GGUF file to write")
    options.add_argument("--type", choices=TYPES, default="bf16", help="of the matrices' numbers")
    arguments = options.parse_args()
    write_copy(arguments.source, arguments.out, arguments.type)


if __name__ == "__main__":
    main()
