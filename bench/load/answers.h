// The tokens that conversations should have: those of a run that nothing disturbed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fmaserver::bench {

/// Of a conversation: the tokens of each turn's answer.
using Answers = std::vector<std::vector<uint32_t>>;

/// Writes `answers`, one for each conversation, to `file`. `options` is what they depend on, an
/// object of flat values.
absl::Status WriteAnswers(const std::string& file, const nlohmann::json& options,
                          const std::vector<Answers>& answers);

/// What WriteAnswers wrote with the same `options`, for `conversations` of `turns`.
/// INVALID_ARGUMENT names what differs, or is no such file.
absl::StatusOr<std::vector<Answers>> ReadAnswers(const std::string& file,
                                                 const nlohmann::json& options,
                                                 size_t conversations, size_t turns);

}  // namespace fmaserver::bench
