// A float32 array in NumPy's .npy format, written part by part.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fmaserver::eval {

/// Create writes the header, so the shape must be known by then.
class NpyWriter {
 public:
  /// UNAVAILABLE, with the reason, when the file cannot be made.
  static absl::StatusOr<NpyWriter> Create(const std::filesystem::path& file,
                                          const std::vector<int64_t>& shape);

  void Append(std::span<const float> values);

  /// Flushes. DATA_LOSS when any write failed.
  absl::Status Close();

 private:
  NpyWriter(std::filesystem::path path, std::ofstream stream)
      : path_(std::move(path)), stream_(std::move(stream)) {}

  std::filesystem::path path_;
  std::ofstream stream_;
};

}  // namespace fmaserver::eval
