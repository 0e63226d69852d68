// The safetensors format: an 8-byte little-endian header length, a JSON header, then the tensors.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mapped_file.h"
#include "model_loader/tensor.h"

namespace fmaserver::model {

using NamedTensor = std::pair<std::string, TensorView>;

/// The tensors of a safetensors image, in file order; views into `bytes`. F32, F16, BF16, I8 and U8
/// only. The tensors must tile the data section: no gap, no overlap, nothing after the last.
/// INVALID_ARGUMENT names `origin`, the tensor, what was found and what is allowed.
absl::StatusOr<std::vector<NamedTensor>> ParseSafetensors(std::span<const std::byte> bytes,
                                                          std::string_view origin);

/// A memory-mapped safetensors file. Movable; views stay valid after a move.
class Safetensors {
 public:
  static absl::StatusOr<Safetensors> Open(const std::filesystem::path& file);

  const std::vector<NamedTensor>& tensors() const { return tensors_; }

  /// The whole file.
  std::span<const std::byte> bytes() const { return file_.bytes(); }

 private:
  Safetensors(MappedFile file, std::vector<NamedTensor> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  MappedFile file_;
  std::vector<NamedTensor> tensors_;
};

}  // namespace fmaserver::model
