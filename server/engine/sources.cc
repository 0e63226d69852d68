#include "server/engine/sources.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/utf8.h"

namespace fmaserver::engine {
namespace {

/// The part of `bytes` that is whole characters: without the rest of one before it, and without one
/// that goes on behind it.
ByteRange WholeCharacters(std::string_view bytes) {
  constexpr size_t kMostOfOne = 3;
  ByteRange whole;
  while (whole.begin < std::min(bytes.size(), kMostOfOne) &&
         (static_cast<unsigned char>(bytes[whole.begin]) & 0xC0U) == 0x80U) {
    ++whole.begin;
  }
  whole.end = whole.begin;
  while (whole.end < bytes.size()) {
    const Utf8Prefix next = NextUtf8(bytes.substr(whole.end));
    if (next.kind == Utf8Prefix::Kind::kIncomplete) break;
    whole.end += next.length;
  }
  return whole;
}

}  // namespace

void SequenceText::Add(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    const size_t before = ends_.empty() ? 0 : ends_.back();
    const size_t bytes = tokenizer_ == nullptr ? 0 : tokenizer_->TokenBytes(token).size();
    tokens_.push_back(token);
    ends_.push_back(before + bytes);
  }
}

void SequenceText::Describe(Source& source) const {
  if (tokenizer_ == nullptr || source.begin < first_ || source.end > end()) return;
  const int64_t begin = source.begin - first_;
  std::string bytes;
  for (int64_t i = begin; i < source.end - first_; ++i) bytes += tokenizer_->TokenBytes(tokens_[i]);
  const ByteRange whole = WholeCharacters(bytes);
  source.text = ReplaceInvalidUtf8(bytes.substr(whole.begin, whole.end - whole.begin));
  if (first_ > 0) return;
  const size_t start = begin == 0 ? 0 : ends_[begin - 1];
  source.bytes = ByteRange{start + whole.begin, start + whole.end};
}

SourceFinder::SourceFinder(const model::ModelConfig& config, const model::Tokenizer* tokenizer,
                           const GenerateRequest& request)
    : config_(config),
      request_(request),
      text_(tokenizer, request.state.tokens() - std::ssize(request.earlier)) {
  text_.Add(request.earlier);
  text_.Add(request.prompt);
  // Those of an earlier run are in the prompt or in the state.
  chosen_ = request.generated.size();
}

std::vector<Source> SourceFinder::Find(std::span<const float> unit_weights,
                                       std::span<const int32_t> chosen) {
  text_.Add(chosen.subspan(std::min(chosen_, chosen.size())));
  chosen_ = chosen.size();
  const kernels::AttentionSpec& attention = config_.attention;
  const int64_t units = std::ssize(unit_weights) / attention.num_kv_heads;
  std::vector<std::pair<float, int64_t>> weights;
  for (int64_t unit = 0; unit < units; ++unit) {
    float weight = 0;
    for (int32_t head = 0; head < attention.num_kv_heads; ++head) {
      weight += unit_weights[head * units + unit];
    }
    if (weight > 0) weights.emplace_back(-weight, unit);
  }
  const int64_t count = std::min<int64_t>(request_.sources, std::ssize(weights));
  std::ranges::partial_sort(weights, weights.begin() + count);
  const auto all = static_cast<float>(int64_t{config_.num_layers} * attention.num_heads);
  std::vector<Source> sources;
  for (const auto& [weight, unit] : std::span(weights).first(static_cast<size_t>(count))) {
    Source& source = sources.emplace_back();
    source.begin = unit * attention.open_size;
    source.end = source.begin + attention.open_size;
    source.share = -weight / all;
    text_.Describe(source);
  }
  return sources;
}

}  // namespace fmaserver::engine
