// The JSON of POST /v1/chat/completions.
#pragma once

#include "absl/status/status.h"
#include "nlohmann/json.hpp"
#include "server/openai/generate_job.h"
#include "server/openai/value.h"
#include "server/service/chat.h"

namespace fmaserver::openai {

/// Tokens of an answer, at most, where a chat does not say.
inline constexpr int64_t kChatTokens = 4096;

/// Fills `job`, which has its vocabulary. INVALID_ARGUMENT names the field.
absl::Status ReadChat(const nlohmann::json& body, GenerateJob& job);

/// What `value`, a list of messages, says.
absl::Status ReadMessages(const Value& value, service::Conversation& messages);

}  // namespace fmaserver::openai
