#include "server/service/generate_event.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace fmaserver::service {
namespace {

constexpr size_t kEventBytes = 16;
constexpr size_t kTokenBytes = 4;
constexpr size_t kLogprobBytes = 4;
// An id, a number, and the bytes of the token.
constexpr size_t kListedTokenBytes = 20;
// Places and a number, besides the text.
constexpr size_t kSourceBytes = 30;
// Three numbers and two lengths, besides the levels.
constexpr size_t kLayerBytes = 20;

template <class T>
void Append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

size_t SizeOf(const engine::PromptProgress& /*progress*/) { return kEventBytes; }

size_t SizeOf(const PromptTokens& prompt) { return kEventBytes + BytesOf(prompt.tokens); }

size_t SizeOf(const engine::Delta& delta) {
  size_t bytes = kEventBytes + delta.tokens.size() * kTokenBytes + delta.text.size() +
                 delta.logprobs.size() * kLogprobBytes;
  for (const auto& candidates : delta.top_logprobs) bytes += candidates.size() * kListedTokenBytes;
  for (const auto& sources : delta.sources) {
    for (const engine::Source& source : sources) bytes += kSourceBytes + source.text.size();
  }
  for (const engine::AttentionShares& shares : delta.attention_shares) bytes += BytesOf(shares);
  return bytes;
}

size_t SizeOf(const GenerationFinished& finished) {
  const size_t whole = finished.answered.has_value() ? finished.answered->text.size() : 0;
  return 4 * kEventBytes + finished.end.text.size() + finished.end.stop.size() + whole;
}

size_t SizeOf(const GenerationInterrupted& interrupted) {
  return kEventBytes + interrupted.resume_token.size();
}

bool Join(engine::PromptProgress& last, engine::PromptProgress& next) {
  last = next;
  return true;
}

bool Join(PromptTokens& last, PromptTokens& next) {
  Append(last.tokens, next.tokens);
  return true;
}

bool Join(engine::Delta& last, engine::Delta& next) {
  if (last.index != next.index) return false;
  Append(last.tokens, next.tokens);
  last.text += next.text;
  Append(last.logprobs, next.logprobs);
  Append(last.top_logprobs, next.top_logprobs);
  Append(last.sources, next.sources);
  Append(last.attention_shares, next.attention_shares);
  return true;
}

template <class Last, class Next>
bool Join(Last& /*last*/, Next& /*next*/) {
  return false;
}

}  // namespace

size_t BytesOf(const std::vector<engine::TokenScore>& scores) {
  size_t bytes = 0;
  for (const engine::TokenScore& score : scores)
    bytes += (1 + score.top.size()) * kListedTokenBytes;
  return bytes;
}

size_t BytesOf(const engine::AttentionShares& shares) {
  size_t bytes = 0;
  for (const engine::LayerShares& layer : shares) {
    bytes += kLayerBytes + layer.levels.size() * sizeof(float);
  }
  return bytes;
}

size_t BytesOf(const GenerateEvent& event) {
  return std::visit([](const auto& kind) { return SizeOf(kind); }, event);
}

bool Merge(GenerateEvent& last, GenerateEvent& next) {
  return std::visit([](auto& a, auto& b) { return Join(a, b); }, last, next);
}

std::vector<std::vector<engine::TokenScore>> InPieces(std::vector<engine::TokenScore> scores) {
  std::vector<std::vector<engine::TokenScore>> pieces;
  for (size_t begin = 0; begin < scores.size(); begin += kScoresPerEvent) {
    const auto from = scores.begin() + static_cast<std::ptrdiff_t>(begin);
    const size_t size = std::min(kScoresPerEvent, scores.size() - begin);
    pieces.emplace_back(std::make_move_iterator(from),
                        std::make_move_iterator(from + static_cast<std::ptrdiff_t>(size)));
  }
  return pieces;
}

}  // namespace fmaserver::service
