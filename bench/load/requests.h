// The requests of a load: each depends only on the options and its number, not on the order in
// which they are sent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "bench/load/length_distribution.h"
#include "bench/load/options.h"
#include "bench/load/prompts.h"
#include "fma/v1/generation.pb.h"

namespace fmaserver::bench {

/// Immutable, and so thread-safe.
class RequestSource {
 public:
  /// `options` must have passed the checks of the command line.
  RequestSource(const LoadOptions& options, PromptSource prompts);

  /// Makes request `number`; numbers below 0 are for warming up.
  v1::GenerateRequest Make(int64_t number) const;

  /// The same with these lengths instead of those of the options.
  v1::GenerateRequest Make(int64_t number, int64_t prompt_tokens, int64_t output_tokens) const;

 private:
  std::mt19937_64 Random(int64_t number) const;
  v1::GenerateRequest Make(int64_t prompt_tokens, int64_t output_tokens,
                           std::mt19937_64& random) const;

  LengthDistribution prompt_lengths_;
  LengthDistribution output_lengths_;
  PromptSource prompts_;
  std::string model_;
  std::optional<float> temperature_;
  uint64_t seed_;
};

}  // namespace fmaserver::bench
