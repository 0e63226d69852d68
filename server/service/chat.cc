#include "server/service/chat.h"

#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::service {
namespace {

absl::Status CheckChats(const Vocabulary& vocabulary) {
  const auto missing = [](std::string_view what) {
    return Refusal(what, Words{"missing"}, "models that have one; this one takes Generate calls",
                   absl::StatusCode::kFailedPrecondition);
  };
  if (vocabulary.tokenizer == nullptr) return missing("the model's tokenizer");
  if (vocabulary.chat_template == nullptr) return missing("the model's chat template");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> ChatTokens(const Conversation& messages,
                                                const Vocabulary& vocabulary,
                                                const RequestLimits& limits, const Before& before) {
  absl::Status status = CheckChats(vocabulary);
  status.Update(CheckText(BytesOf(messages), limits));
  if (!status.ok()) return status;
  const chat::ChatTemplate& chats = *vocabulary.chat_template;
  auto rendering = before.empty ? chats.Render(messages) : chats.RenderAfterAnswer(messages);
  if (!rendering.ok()) return rendering.status();
  auto tokens = vocabulary.tokenizer->Encode(rendering->text,
                                             model::ControlPlaces(std::move(rendering->written)));
  if (!tokens.ok()) return tokens.status();
  const bool is_there = !tokens->empty() && before.last_token == tokens->front();
  if (is_there && vocabulary.tokenizer->TokenBytes(tokens->front()).empty()) {
    tokens->erase(tokens->begin());
  }
  if (tokens->empty()) return Refusal("messages", Words{"0 tokens"}, "1 or more");
  if (status = CheckPrompt(std::ssize(*tokens), limits); !status.ok()) return status;
  return tokens;
}

size_t BytesOf(const Conversation& messages) {
  size_t bytes = 0;
  for (const chat::Message& message : messages)
    bytes += message.role.size() + message.content.size();
  return bytes;
}

std::string Transcript(const Conversation& messages) {
  std::string text;
  for (const chat::Message& message : messages) {
    text += Concat(text.empty() ? "" : "\n", message.role, ": ", message.content);
  }
  return text;
}

}  // namespace fmaserver::service
