// A checkpoint whose large weights are rounded to integers in blocks, as fma-convert writes one.
#pragma once

#include <filesystem>

#include "absl/status/status.h"

namespace fmaserver::bench {

/// Rounds the large weights of the checkpoint `folder` in place: the embeddings of tokens and the
/// output layer to int8, the others to int4.
absl::Status RoundToInt4(const std::filesystem::path& folder);

}  // namespace fmaserver::bench
