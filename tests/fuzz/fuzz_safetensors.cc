#include "model_loader/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto tensors = fmaserver::model::ParseSafetensors(bytes, "model.safetensors");
  if (!tensors.ok()) return 0;
  const std::byte* end = bytes.data() + bytes.size();
  int64_t total = 0;
  for (const auto& [name, view] : *tensors) {
    const int64_t view_bytes = view.NumElements() * SizeOf(view.dtype);
    Require(view.data > bytes.data() && view_bytes > 0 && view_bytes <= end - view.data);
    total += view_bytes;
  }
  Require(total <= static_cast<int64_t>(size));
  return 0;
}
