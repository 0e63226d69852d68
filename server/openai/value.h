// One field of a JSON body, as what it should be.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "server/service/tokens.h"

namespace fmaserver::openai {

/// A view. Every function returns INVALID_ARGUMENT, naming the field, for what it is not.
struct Value {
  std::string_view name;
  const nlohmann::json& json;

  absl::Status To(bool& place) const;
  absl::Status To(float& place) const;
  absl::Status To(double& place) const;
  absl::Status To(int32_t& place) const;
  absl::Status To(int64_t& place) const;
  absl::Status To(std::string& place) const;
  absl::Status ToIds(const service::Vocabulary& vocabulary, std::vector<int32_t>& place) const;

  /// That this is not `allowed`.
  absl::Status Refuse(std::string_view allowed) const;
};

}  // namespace fmaserver::openai
