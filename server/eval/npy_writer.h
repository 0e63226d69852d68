// A [rows, cols] float32 array in NumPy's .npy format, written row by row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fmaserver::eval {

/// Create writes the header, so the number of rows must be known by then.
class NpyWriter {
 public:
  /// UNAVAILABLE, with the reason, when the file cannot be made.
  static absl::StatusOr<NpyWriter> Create(const std::filesystem::path& file, int64_t rows,
                                          int64_t cols);

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
