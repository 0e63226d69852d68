#include "server/engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"

namespace fmaserver::engine {
namespace {

struct Candidate {
  float logit = 0;
  int32_t token = 0;
  double weight = 0;  // proportional to the probability
};

bool MoreLikely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

/// The whole vocabulary, in its own order.
std::vector<Candidate> Everything(std::span<const float> logits) {
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates[i] = {logits[i], static_cast<int32_t>(i), 0};
  }
  return candidates;
}

/// The `count` most likely tokens of the vocabulary, best first.
std::vector<Candidate> MostLikely(std::span<const float> logits, size_t count) {
  std::vector<Candidate> candidates = Everything(logits);
  const auto end = candidates.begin() + static_cast<int64_t>(std::min(count, logits.size()));
  std::partial_sort(candidates.begin(), end, candidates.end(), MoreLikely);
  candidates.erase(end, candidates.end());
  return candidates;
}

/// Sets the weights at `temperature`; that of `max_logit` is 1.
void Weigh(std::vector<Candidate>& candidates, float temperature, float max_logit) {
  for (Candidate& candidate : candidates) {
    candidate.weight = std::exp((static_cast<double>(candidate.logit) - max_logit) / temperature);
  }
}

double TotalWeight(std::span<const Candidate> candidates) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  return total;
}

/// How many of the most likely candidates it takes to hold `wanted` of the weight: the fewest, or
/// all. They come to the front, the least likely of them last. Each round halves the part that is
/// searched, so the cost is proportional to the number of candidates; only the last few are sorted.
size_t BringToFront(std::span<Candidate> candidates, double wanted) {
  constexpr size_t kSorted = 32;
  const auto at = [&](size_t i) { return candidates.begin() + static_cast<int64_t>(i); };
  size_t begin = 0;
  size_t end = candidates.size();
  while (end - begin > kSorted) {
    const size_t middle = begin + (end - begin) / 2;
    std::nth_element(at(begin), at(middle), at(end), MoreLikely);
    const double upper = TotalWeight(candidates.subspan(begin, middle - begin));
    if (upper < wanted) {
      wanted -= upper;
      begin = middle;
    } else {
      end = middle;
    }
  }
  std::sort(at(begin), at(end), MoreLikely);
  while (begin < end && wanted > 0) wanted -= candidates[begin++].weight;
  return begin;
}

/// The candidate at `uniform`, in [0, 1), of the total weight.
int32_t Draw(std::span<const Candidate> candidates, double uniform) {
  double rest = uniform * TotalWeight(candidates);
  for (const Candidate& candidate : candidates) {
    rest -= candidate.weight;
    if (rest < 0) return candidate.token;
  }
  return candidates.back().token;  // rounding left a tiny remainder
}

/// Like Draw, but only among the fewest most likely candidates that hold `top_p` of the weight, in
/// order of likelihood.
int32_t DrawFromNucleus(std::span<Candidate> candidates, float top_p, double uniform) {
  const auto nucleus = candidates.first(BringToFront(candidates, top_p * TotalWeight(candidates)));
  const size_t count = BringToFront(nucleus, uniform * TotalWeight(nucleus));
  return nucleus[count > 0 ? count - 1 : 0].token;
}

/// SplitMix64's output function: a bijection that scatters consecutive counters.
uint64_t Scatter(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

}  // namespace

LogProbabilities::LogProbabilities(std::span<const float> logits) : logits_(logits) {
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - max);
  log_sum_ = max + std::log(sum);
}

std::vector<TokenLogprob> LogProbabilities::Top(int32_t count) const {
  std::vector<TokenLogprob> top;
  if (count == 0) return top;
  for (const Candidate& candidate : MostLikely(logits_, static_cast<size_t>(count))) {
    top.push_back({candidate.token, Of(candidate.token)});
  }
  return top;
}

absl::Status LogitsNotFinite() {
  return absl::InternalError("the model's logits are not finite; its weights may be damaged");
}

double Sampler::NextUniform() const {
  constexpr uint64_t kGoldenRatio = 0x9E3779B97F4A7C15U;
  const uint64_t bits = Scatter(Scatter(seed_) + (drawn_ + 1) * kGoldenRatio);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

Sampler::Sampler(const SamplingParams& params, uint64_t seed, std::span<const int32_t> prompt)
    : temperature_(params.temperature),
      top_k_(params.top_k),
      top_p_(params.top_p),
      min_p_(params.min_p),
      filters_(params, prompt),
      seed_(seed) {}

absl::StatusOr<int32_t> Sampler::Sample(std::span<const float> logits,
                                        std::span<const int32_t> suppressed) {
  std::vector<float> filtered;
  if (filters_.Active() || !suppressed.empty()) {
    filtered.assign(logits.begin(), logits.end());
    filters_.Apply(filtered);
    Ban(suppressed, filtered);
    logits = filtered;
  }
  absl::StatusOr<int32_t> token = Choose(logits);
  if (token.ok()) Skip(*token);
  return token;
}

kernels::RowSampling Sampler::Describe(std::span<const int32_t> suppressed) {
  kernels::RowSampling row;
  row.temperature = temperature_;
  row.top_k = top_k_;
  row.top_p = top_p_;
  row.min_p = min_p_;
  row.uniform = NextUniform();
  filters_.Describe(row);
  banned_.assign(row.banned.begin(), row.banned.end());
  banned_.insert(banned_.end(), suppressed.begin(), suppressed.end());
  row.banned = banned_;
  return row;
}

absl::StatusOr<int32_t> Sampler::Choose(std::span<const float> logits) {
  const auto best = std::max_element(logits.begin(), logits.end());
  const bool has_nan = std::any_of(logits.begin(), logits.end(), [](float x) { return x != x; });
  if (has_nan || !std::isfinite(*best)) return LogitsNotFinite();
  if (temperature_ == 0) return static_cast<int32_t>(best - logits.begin());

  // A top_k of the whole vocabulary filters nothing and must draw what top_k = 0 draws.
  const bool cuts = top_k_ > 0 && static_cast<size_t>(top_k_) < logits.size();
  std::vector<Candidate> candidates =
      cuts ? MostLikely(logits, static_cast<size_t>(top_k_)) : Everything(logits);
  // Temperature and min_p keep the order, so top_k may come first, which spares exponentials.
  Weigh(candidates, temperature_, *best);
  std::erase_if(candidates, [&](const Candidate& c) { return c.weight < min_p_ || c.weight == 0; });
  const double uniform = NextUniform();
  return top_p_ < 1 ? DrawFromNucleus(candidates, top_p_, uniform) : Draw(candidates, uniform);
}

}  // namespace fmaserver::engine
