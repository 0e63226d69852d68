#include "server/service/encode_request.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::service {
namespace {

absl::Status CheckMask(const std::string& mask) {
  if (mask.size() <= kMaxMaskBytes) return absl::OkStatus();
  return Refusal("mask", Words{Concat(mask.size(), " bytes")}, Concat("up to ", kMaxMaskBytes));
}

/// What stands between masks is encoded part by part, so that no token reaches across a mask.
absl::StatusOr<std::vector<int32_t>> EncodeMasked(std::string_view text, std::string_view mask,
                                                  const Vocabulary& vocabulary,
                                                  const RequestLimits& limits) {
  if (absl::Status status = CheckText(text.size(), limits); !status.ok()) return status;
  std::vector<int32_t> tokens;
  while (true) {
    const size_t end = std::min(text.find(mask), text.size());
    if (end > 0) {
      const auto part = Encode(text.substr(0, end), vocabulary, limits);
      if (!part.ok()) return part.status();
      tokens.insert(tokens.end(), part->begin(), part->end());
    }
    if (end == text.size()) return tokens;
    tokens.push_back(*vocabulary.mask_token);
    text.remove_prefix(end + mask.size());
  }
}

absl::StatusOr<std::vector<int32_t>> TokensOfText(Input input, const std::string& mask,
                                                  const Vocabulary& vocabulary,
                                                  const RequestLimits& limits) {
  const bool masked = input.text.has_value() && !mask.empty() && vocabulary.mask_token.has_value();
  // A part of a character is no text, and a part of a masked text would be refused as such.
  if (masked && vocabulary.tokenizer != nullptr) {
    return EncodeMasked(*input.text, mask, vocabulary, limits);
  }
  RequestLimits of_text = limits;
  of_text.prompt_tokens = 0;  // which truncation may have to meet first
  return TokensOf(std::move(input), vocabulary, of_text);
}

}  // namespace

absl::StatusOr<ReadyToEncode> ForEncoder(EncodeRequest request, const Vocabulary& vocabulary,
                                         const RequestLimits& limits, int64_t max_tokens) {
  if (absl::Status status = CheckMask(request.mask); !status.ok()) return status;
  const bool limited = limits.prompt_tokens > 0;
  const int64_t most = limited ? std::min(limits.prompt_tokens, max_tokens) : max_tokens;
  ReadyToEncode ready;
  ready.request.candidates = request.candidates;
  for (size_t i = 0; i < request.texts.size(); ++i) {
    const std::string place = Concat("inputs[", i, "]");
    auto tokens = TokensOfText(std::move(request.texts[i]), request.mask, vocabulary, limits);
    if (!tokens.ok()) return At(place, tokens.status());
    const int64_t excess = std::max<int64_t>(std::ssize(*tokens) - most, 0);
    if (excess > 0 && !request.truncate) {
      return Refusal(place, Words{Concat(tokens->size(), " tokens")},
                     Concat("up to ", most, ", or truncate to read the first of them alone"));
    }
    tokens->resize(tokens->size() - static_cast<size_t>(excess));
    ready.truncated.push_back(excess);
    ready.request.texts.push_back(*std::move(tokens));
  }
  return ready;
}

}  // namespace fmaserver::service
