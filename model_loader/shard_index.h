// model.safetensors.index.json: which shard of a checkpoint holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"

namespace fmaserver::model {

/// File name of a shard -> names of the tensors that the index places in it.
using ShardIndex = std::map<std::string, absl::flat_hash_set<std::string>>;

/// Shards must be plain file names, so that nothing outside the checkpoint's folder can be named.
/// INVALID_ARGUMENT names `origin`, the tensor, what was found and what is allowed.
absl::StatusOr<ShardIndex> ParseShardIndex(std::string_view text, std::string_view origin);

}  // namespace fmaserver::model
