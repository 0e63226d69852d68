// A conversation's messages become the tokens of a prompt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model_loader/chat_template/chat_template.h"
#include "server/service/limits.h"
#include "server/service/tokens.h"

namespace fmaserver::service {

using Conversation = std::vector<chat::Message>;

/// What a session holds when new messages come, as far as their tokens depend on it.
struct Before {
  bool empty = true;
  std::optional<int32_t> last_token = {};  ///< absent: not known
};

/// The tokens of `messages` and of what makes the model answer; only what the template writes can
/// be a control token. Where something is before them, that ends with an answer: the tokens begin
/// with what the template writes behind an answer, without a control token that the model itself
/// chose as the answer's last. FAILED_PRECONDITION for a model without a tokenizer or a template;
/// INVALID_ARGUMENT as ChatTemplate says, and beyond the limits.
absl::StatusOr<std::vector<int32_t>> ChatTokens(const Conversation& messages,
                                                const Vocabulary& vocabulary,
                                                const RequestLimits& limits,
                                                const Before& before = {});

size_t BytesOf(const Conversation& messages);

/// The messages as a log shows them.
std::string Transcript(const Conversation& messages);

}  // namespace fmaserver::service
