// The JSON of POST /v1/chat/completions.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"
#include "server/openai/fields.h"
#include "server/openai/generate_job.h"
#include "server/openai/value.h"
#include "server/service/chat.h"

namespace fmaserver::openai {

/// Tokens of an answer, at most, where a chat does not say.
inline constexpr int64_t kChatTokens = 4096;

/// What a chat has besides the fields of all requests.
std::span<const Field> ChatFields();

/// Fills `job`, which has its vocabulary. INVALID_ARGUMENT names the field.
absl::Status ReadChat(const nlohmann::json& body, GenerateJob& job);

/// What `value`, a list of messages, says.
absl::Status ReadMessages(const Value& value, service::Conversation& messages);

/// What `value`, a message whose content is a text or a list of parts of these types, says.
absl::Status ReadMessage(const Value& value, std::span<const char* const> part_types,
                         chat::Message& message);

}  // namespace fmaserver::openai
