// Choosing tokens on the device: one block per row of logits (kernels/sampling.h has the rules).
//
// Probabilities are integers, weights relative to the most likely token in units of 2^-40. Their
// sums are exact in any order, so a draw does not depend on how threads are scheduled, and a token
// below that unit is never drawn. Nothing is sorted: where the order of likelihood matters, a
// position in it is found digit by digit, from sums of weights (or counts) per digit of the
// order-preserving bits of the logits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cuda/runtime/device.h"
#include "kernels/cuda/sampling/sampling.h"

namespace fmaserver::kernels::cuda {

/// Grid: rows.
struct SamplingKernel {
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kDigitBits = 8;
  static constexpr int kBins = 1 << kDigitBits;
  static constexpr const char* kName = "sample";

  /// Sums of weights, in the type that the device's 64-bit atomics take.
  using Sum = unsigned long long;
  static constexpr double kUnit = 1099511627776.0;  // weight 1
  static constexpr int64_t kSharedBytes =
      SharedBytes<Sum>(kBins) + SharedBytes<Sum>(kWarps) + SharedBytes<Sum>(2);

  const float* logits = nullptr;  // [rows, vocab]
  float* filtered = nullptr;      // [rows, vocab], scratch of rows that change logits
  const DeviceRowSampling* rows = nullptr;
  const TokenValue* edits = nullptr;  // the lists of all rows
  TokenValue* chosen = nullptr;       // [rows], with log-probabilities
  TokenValue* top = nullptr;          // [rows, top_stride]
  int32_t vocab = 0;
  int32_t top_stride = 0;

  struct Scratch {
    Shared<Sum> bins;
    Shared<Sum> partial;
    Shared<Sum> answer;
  };

  /// A token in the order of likelihood: larger keys first, and among equal keys the lower id.
  struct Candidate {
    uint32_t key = 0;
    int32_t token = 0x7FFFFFFF;

    FMA_DEVICE bool Holds(uint32_t other, int32_t id) const {
      return other > key || (other == key && id <= token);
    }
  };

  /// Bits with the same order as the logits; zeros of both signs are equal.
  FMA_DEVICE static uint32_t KeyOf(float logit) {
    const float value = logit + 0.0F;
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  }

  /// The sum of all threads' values, in every thread.
  FMA_DEVICE static Sum BlockSum(Sum value, const Scratch& scratch) {
    value = WarpSum(value);
    SyncThreads();  // what was read before may be overwritten
    if (LaneIndex() == 0) scratch.partial.Set(WarpIndex(), value);
    SyncThreads();
    Sum sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) sum += scratch.partial.Get(warp);
    return sum;
  }

  FMA_DEVICE static Sum BlockMax(Sum value, const Scratch& scratch) {
    value = WarpMax(value);
    SyncThreads();
    if (LaneIndex() == 0) scratch.partial.Set(WarpIndex(), value);
    SyncThreads();
    Sum most = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      const Sum other = scratch.partial.Get(warp);
      most = other > most ? other : most;
    }
    return most;
  }

  /// The most likely token after `before`, as (key, inverted id) in one number; 0:
  /// none.
  FMA_DEVICE Sum Best(const float* row, const Candidate* before, const Scratch& scratch) const {
    Sum best = 0;
    for (int32_t id = ThreadIndex(); id < vocab; id += kThreads) {
      const uint32_t key = KeyOf(Load(row + id));
      if (before != nullptr && before->Holds(key, id)) continue;
      const Sum candidate = (Sum{key} << 32) | static_cast<uint32_t>(~id);
      best = candidate > best ? candidate : best;
    }
    return BlockMax(best, scratch);
  }
  FMA_DEVICE static Candidate CandidateOf(Sum best) {
    return {static_cast<uint32_t>(best >> 32), static_cast<int32_t>(~static_cast<uint32_t>(best))};
  }

  /// The first token in the order of ids where the running sum of `measure(id)` passes `target`.
  template <typename Measure>
  FMA_DEVICE int32_t FirstInOrder(Sum target, const Measure& measure,
                                  const Scratch& scratch) const {
    const int32_t chunk = (vocab + kThreads - 1) / kThreads;
    const int32_t begin = ThreadIndex() * chunk < vocab ? ThreadIndex() * chunk : vocab;
    const int32_t end = begin + chunk < vocab ? begin + chunk : vocab;
    Sum own = 0;
    for (int32_t id = begin; id < end; ++id) own += measure(id);
    Sum before = own;  // of the lanes up to this one
    for (int step = 1; step < kWarpSize; step *= 2) {
      const int from = LaneIndex() - step;
      const Sum other = Shuffle(before, from < 0 ? 0 : from);
      if (from >= 0) before += other;
    }
    SyncThreads();
    if (LaneIndex() == kWarpSize - 1) scratch.partial.Set(WarpIndex(), before);
    SyncThreads();
    before -= own;
    for (int warp = 0; warp < WarpIndex(); ++warp) before += scratch.partial.Get(warp);
    if (before <= target && target < before + own) {
      int32_t id = begin;
      for (Sum passed = before + measure(id); passed <= target; passed += measure(id)) ++id;
      scratch.answer.Set(0, static_cast<Sum>(id));
    }
    SyncThreads();
    return static_cast<int32_t>(scratch.answer.Get(0));
  }

  /// The token, in the order of likelihood, where the running sum of `measure(key, id)` passes
  /// `target`, which is less than the sum of all. Equal keys have equal measures, until it is 0.
  template <typename Measure>
  FMA_DEVICE Candidate FirstByLikelihood(const float* row, Sum target, const Measure& measure,
                                         const Scratch& scratch) const {
    uint32_t prefix = 0;
    uint32_t known = 0;  // mask of the digits found so far
    for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
      SyncThreads();
      for (int bin = ThreadIndex(); bin < kBins; bin += kThreads) scratch.bins.Set(bin, 0);
      SyncThreads();
      for (int32_t id = ThreadIndex(); id < vocab; id += kThreads) {
        const uint32_t key = KeyOf(Load(row + id));
        if ((key & known) != prefix) continue;
        const Sum value = measure(key, id);
        if (value != 0) scratch.bins.AtomicAdd((key >> shift) & (kBins - 1), value);
      }
      SyncThreads();
      if (ThreadIndex() == 0) FindBin(target, scratch);
      SyncThreads();
      prefix |= static_cast<uint32_t>(scratch.answer.Get(0)) << shift;
      target -= scratch.answer.Get(1);
      known |= static_cast<uint32_t>(kBins - 1) << shift;
    }
    // Only tokens with equal keys are left, in the order of their ids.
    const auto equal = [&](int32_t id) {
      const uint32_t key = KeyOf(Load(row + id));
      return key == prefix ? measure(key, id) : Sum{0};
    };
    return {prefix, FirstInOrder(target, equal, scratch)};
  }

  /// Sets answer to the bin where the sum from the largest digit down passes `target`, and the sum
  /// before that bin.
  FMA_DEVICE static void FindBin(Sum target, const Scratch& scratch) {
    Sum before = 0;
    int bin = kBins - 1;
    for (; bin > 0; --bin) {
      const Sum value = scratch.bins.Get(bin);
      if (target < before + value) break;
      before += value;
    }
    scratch.answer.Set(0, static_cast<Sum>(bin));
    scratch.answer.Set(1, before);
  }

  /// Writes the row to `out` and applies everything that changes logits, one kind after the other.
  FMA_DEVICE void Filter(const DeviceRowSampling& how, const float* row, float* out) const {
    const TokenValue* list = edits + how.first;
    for (int32_t id = ThreadIndex(); id < vocab; id += kThreads) {
      Store(out + id, how.allowed > 0 ? -INFINITY : Load(row + id));
    }
    SyncThreads();
    for (int32_t i = ThreadIndex(); i < how.allowed; i += kThreads) {
      const int32_t token = Load(list + i).token;
      Store(out + token, Load(row + token));
    }
    SyncThreads();
    list += how.allowed;
    for (int32_t i = ThreadIndex(); i < how.banned; i += kThreads) {
      Store(out + Load(list + i).token, -INFINITY);
    }
    SyncThreads();
    list += how.banned;
    for (int32_t i = ThreadIndex(); i < how.bias; i += kThreads) {
      const TokenValue bias = Load(list + i);
      Store(out + bias.token, Load(out + bias.token) + bias.value);
    }
    SyncThreads();
    list += how.bias;
    for (int32_t i = ThreadIndex(); i < how.counts; i += kThreads) {
      const TokenValue times = Load(list + i);
      Store(out + times.token, Penalized(how, Load(out + times.token), times.value));
    }
    SyncThreads();
  }

  FMA_DEVICE static float Penalized(const DeviceRowSampling& how, float logit, float times) {
    logit = logit > 0 ? logit / how.repetition_penalty : logit * how.repetition_penalty;
    logit -= how.frequency_penalty * times;
    return times > 0 ? logit - how.presence_penalty : logit;
  }

  /// Draws from the filtered logits, of which `max` is the largest.
  FMA_DEVICE int32_t Draw(const DeviceRowSampling& how, const float* row, float max,
                          const Scratch& scratch) const {
    const auto weight = [&](int32_t id) {
      const double relative =
          std::exp((static_cast<double>(Load(row + id)) - max) / how.temperature);
      return relative < how.min_p ? Sum{0} : static_cast<Sum>(relative * kUnit);
    };
    const bool cuts = how.top_k > 0 && how.top_k < vocab;
    Candidate last;  // holds every token
    if (cuts) {
      last = FirstByLikelihood(
          row, static_cast<Sum>(how.top_k - 1), [](uint32_t, int32_t) { return Sum{1}; }, scratch);
    }
    const auto kept = [&](uint32_t key, int32_t id) {
      return last.Holds(key, id) ? weight(id) : Sum{0};
    };
    Sum total = Total(row, kept, scratch);
    if (how.top_p < 1) {
      const double wanted = std::ceil(static_cast<double>(how.top_p) * static_cast<double>(total));
      const Sum target = wanted < 1 ? 0 : static_cast<Sum>(wanted) - 1;
      last = FirstByLikelihood(row, target < total ? target : total - 1, kept, scratch);
      total = Total(row, kept, scratch);
    }
    Sum target = static_cast<Sum>(how.uniform * static_cast<double>(total));
    if (target >= total) target = total - 1;
    if (cuts || how.top_p < 1) return FirstByLikelihood(row, target, kept, scratch).token;
    return FirstInOrder(target, weight, scratch);
  }

  template <typename Measure>
  FMA_DEVICE Sum Total(const float* row, const Measure& measure, const Scratch& scratch) const {
    Sum sum = 0;
    for (int32_t id = ThreadIndex(); id < vocab; id += kThreads) {
      sum += measure(KeyOf(Load(row + id)), id);
    }
    return BlockSum(sum, scratch);
  }

  /// The logarithm of the sum of exp(logit), and the most likely tokens' log-probabilities.
  FMA_DEVICE double Describe(const DeviceRowSampling& how, const float* row,
                             const Scratch& scratch) const {
    const float max = Load(row + CandidateOf(Best(row, nullptr, scratch)).token);
    double own = 0;
    for (int32_t id = ThreadIndex(); id < vocab; id += kThreads) {
      own += std::exp(Load(row + id) - max);
    }
    const double log_sum = max + std::log(DoubleSum(own, scratch));
    Candidate candidate;
    for (int32_t rank = 0; rank < how.top_logprobs && rank < vocab; ++rank) {
      candidate = CandidateOf(Best(row, rank == 0 ? nullptr : &candidate, scratch));
      if (ThreadIndex() != 0) continue;
      TokenValue* to = top + BlockIndex() * top_stride + rank;
      const double logprob = static_cast<double>(Load(row + candidate.token)) - log_sum;
      Store(to, TokenValue{candidate.token, static_cast<float>(logprob)});
    }
    return log_sum;
  }

  FMA_DEVICE static double DoubleSum(double value, const Scratch& scratch) {
    value = WarpSum(value);
    SyncThreads();
    if (LaneIndex() == 0) {
      Sum bits;
      memcpy(&bits, &value, sizeof(bits));
      scratch.partial.Set(WarpIndex(), bits);
    }
    SyncThreads();
    double sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      const Sum bits = scratch.partial.Get(warp);
      double part;
      memcpy(&part, &bits, sizeof(part));
      sum += part;
    }
    return sum;
  }

  /// Whether no logit of the row is NaN.
  FMA_DEVICE bool IsOrdered(const float* row, const Scratch& scratch) const {
    Sum broken = 0;
    for (int32_t id = ThreadIndex(); id < vocab; id += kThreads) {
      const float logit = Load(row + id);
      broken += logit != logit ? 1 : 0;
    }
    return BlockSum(broken, scratch) == 0;
  }

  /// The token that the row's filtered logits and random number select.
  FMA_DEVICE int32_t Choose(const DeviceRowSampling& how, const float* row,
                            const Scratch& scratch) const {
    if (!IsOrdered(row, scratch)) return kNoToken;
    const int32_t best = CandidateOf(Best(row, nullptr, scratch)).token;
    const float max = Load(row + best);
    if (!std::isfinite(max)) return kNoToken;
    return how.temperature == 0 ? best : Draw(how, row, max, scratch);
  }

  FMA_DEVICE void operator()() const {
    SharedArena arena;
    const Scratch scratch = {arena.Take<Sum>(kBins), arena.Take<Sum>(kWarps), arena.Take<Sum>(2)};
    const DeviceRowSampling how = Load(rows + BlockIndex());
    const float* row = logits + BlockIndex() * vocab;
    const float* choices = row;
    if (how.allowed + how.banned + how.bias + how.counts > 0) {
      float* out = filtered + BlockIndex() * vocab;
      Filter(how, row, out);
      choices = out;
    }
    TokenValue result = {Choose(how, choices, scratch), 0};
    if (result.token != kNoToken && (how.logprob != 0 || how.top_logprobs > 0)) {
      const double log_sum = Describe(how, row, scratch);
      result.value = static_cast<float>(static_cast<double>(Load(row + result.token)) - log_sum);
    }
    if (ThreadIndex() == 0) Store(chosen + BlockIndex(), result);
  }
};

}  // namespace fmaserver::kernels::cuda
