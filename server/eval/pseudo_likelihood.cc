#include "server/eval/pseudo_likelihood.h"

#include <algorithm>
#include <iterator>

#include "base/refusal.h"
#include "server/engine/sampler.h"

namespace fmaserver::eval {
namespace {

/// Of the copies of a window that are read together.
constexpr int64_t kTokensAtOnce = 2048;

class PseudoLikelihood {
 public:
  PseudoLikelihood(engine::Encoder& encoder, std::span<const int32_t> window, int64_t stride)
      : encoder_(encoder), window_(window), stride_(stride), losses_(window.size()) {}

  /// Passes [first, first + count).
  absl::Status Read(int64_t first, int64_t count) {
    std::vector<std::vector<int32_t>> texts;
    std::vector<std::span<const int32_t>> views;
    for (int64_t pass = first; pass < first + count; ++pass) texts.push_back(Masked(pass));
    views.assign(texts.begin(), texts.end());
    const auto encoding = encoder_.Encode(views);
    if (!encoding.ok()) return encoding.status();
    for (int64_t i = 0; i < count; ++i) {
      absl::Status status = Score(*encoding, i, first + i);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  std::vector<float> TakeLosses() { return std::move(losses_); }

 private:
  std::vector<int32_t> Masked(int64_t pass) const {
    std::vector<int32_t> text(window_.begin(), window_.end());
    for (int64_t at = pass; at < std::ssize(text); at += stride_) {
      text[static_cast<size_t>(at)] = *encoder_.config().mask_token_id;
    }
    return text;
  }

  absl::Status Score(const engine::Encoding& encoding, int64_t text, int64_t pass) {
    const int64_t slice = encoder_.options().slice_rows;
    for (int64_t first = pass; first < std::ssize(window_); first += slice * stride_) {
      std::vector<int32_t> rows;
      for (int64_t at = first; at < std::ssize(window_) && std::ssize(rows) < slice;
           at += stride_) {
        rows.push_back(static_cast<int32_t>(encoding.FirstRow(text) + at));
      }
      const auto logits = encoder_.Logits(encoding, rows);
      if (!logits.ok()) return logits.status();
      const size_t vocab_size = logits->size() / rows.size();
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto at = static_cast<size_t>(first + static_cast<int64_t>(i) * stride_);
        const engine::LogProbabilities row(logits->subspan(i * vocab_size, vocab_size));
        losses_[at] = -row.Of(window_[at]);
      }
    }
    return absl::OkStatus();
  }

  engine::Encoder& encoder_;
  const std::span<const int32_t> window_;
  const int64_t stride_;
  std::vector<float> losses_;
};

}  // namespace

absl::StatusOr<std::vector<float>> PseudoLosses(engine::Encoder& encoder,
                                                std::span<const int32_t> window, int64_t stride) {
  if (!encoder.config().mask_token_id.has_value()) {
    return Refusal("mask_token_id", Words{"null"}, "the id of a token, for hidden tokens",
                   absl::StatusCode::kFailedPrecondition);
  }
  const int64_t length = std::ssize(window);
  const int64_t passes = std::min(stride, length);
  const int64_t at_once = std::max<int64_t>(kTokensAtOnce / std::max<int64_t>(length, 1), 1);
  PseudoLikelihood likelihood(encoder, window, stride);
  for (int64_t first = 0; first < passes; first += at_once) {
    absl::Status status = likelihood.Read(first, std::min(at_once, passes - first));
    if (!status.ok()) return status;
  }
  return likelihood.TakeLosses();
}

}  // namespace fmaserver::eval
