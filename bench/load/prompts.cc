#include "bench/load/prompts.h"

#include "base/file.h"
#include "base/refusal.h"

namespace fmaserver::bench {
namespace {

constexpr size_t kMaxFileBytes = 16U << 20;

absl::StatusOr<std::string> ReadText(const std::string& file) {
  absl::StatusOr<std::string> text = ReadWholeFile(file, kMaxFileBytes);
  if (text.ok() && text->empty()) return Refusal(file, Words{"empty"}, "a text");
  return text;
}

}  // namespace

absl::StatusOr<PromptSource> PromptSource::FromFile(const std::string& file,
                                                    const std::string& model,
                                                    client::Client& client) {
  auto text = ReadText(file);
  if (!text.ok()) return text.status();
  v1::TokenizeRequest request;
  request.set_model(model);
  request.set_text(*std::move(text));
  grpc::ClientContext context;
  const auto tokens = client.Tokenize(context, request);
  if (!tokens.ok()) return tokens.status();
  return PromptSource(0, {tokens->token_ids().begin(), tokens->token_ids().end()});
}

std::vector<uint32_t> PromptSource::Make(int64_t length, std::mt19937_64& random) const {
  std::vector<uint32_t> ids(static_cast<size_t>(length));
  const uint64_t last = (text_.empty() ? vocab_size_ : text_.size()) - 1;
  std::uniform_int_distribution<uint64_t> uniform(0, last);
  if (text_.empty()) {
    for (uint32_t& id : ids) id = static_cast<uint32_t>(uniform(random));
    return ids;
  }
  size_t at = uniform(random);
  for (uint32_t& id : ids) {
    id = text_[at];
    at = at < last ? at + 1 : 0;
  }
  return ids;
}

}  // namespace fmaserver::bench
