// What clients read: choices, usage and whole answers as JSON.
#pragma once

#include <cstdint>
#include <string>

#include "nlohmann/json.hpp"
#include "server/models/served_model.h"
#include "server/openai/generate_job.h"
#include "server/openai/part.h"

namespace fmaserver::openai {

/// In the order in which they are written.
using Json = nlohmann::ordered_json;

/// What was shown of a choice before.
struct Shown {
  bool begun = false;  ///< something was
  int64_t offset = 0;  ///< characters of the tokens before, for text_offset
};

/// One element of "choices": of a completion, whole or streamed; of a chat with "message" where it
/// is whole, with "delta" where it is streamed.
Json ChoiceOf(const GenerateJob& job, int64_t index, const Part& part, Shown& shown);

/// The most tokens of a sequence; null: there is no limit.
Json MaxLengthOf(const models::ServedModel& model);

struct TokenUsage {
  int64_t prompt = 0;
  int64_t completion = 0;
  int64_t cached = 0;
};
Json UsageOf(const TokenUsage& usage);

/// As bytes. Texts are UTF-8 already; what is not becomes U+FFFD.
std::string TextOf(const Json& json);

/// An event of a stream with this datum.
std::string EventOf(const std::string& datum);

}  // namespace fmaserver::openai
