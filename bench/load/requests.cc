#include "bench/load/requests.h"

#include <utility>
#include <vector>

namespace fmaserver::bench {

RequestSource::RequestSource(const LoadOptions& options, PromptSource prompts)
    : prompt_lengths_(*LengthDistribution::Parse(options.prompt_lengths)),
      output_lengths_(*LengthDistribution::Parse(options.output_lengths)),
      prompts_(std::move(prompts)),
      model_(options.access.model),
      temperature_(options.temperature),
      seed_(options.seed) {}

std::mt19937_64 RequestSource::Random(int64_t number) const {
  const auto bits = static_cast<uint64_t>(number);
  std::seed_seq words{static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32),
                      static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)};
  return std::mt19937_64(words);
}

v1::GenerateRequest RequestSource::Make(int64_t number) const {
  std::mt19937_64 random = Random(number);
  const int64_t prompt_tokens = prompt_lengths_.Draw(random);
  const int64_t output_tokens = output_lengths_.Draw(random);
  return Make(prompt_tokens, output_tokens, random);
}

v1::GenerateRequest RequestSource::Make(int64_t number, int64_t prompt_tokens,
                                        int64_t output_tokens) const {
  std::mt19937_64 random = Random(number);
  return Make(prompt_tokens, output_tokens, random);
}

v1::GenerateRequest RequestSource::Make(int64_t prompt_tokens, int64_t output_tokens,
                                        std::mt19937_64& random) const {
  v1::GenerateRequest request;
  request.set_model(model_);
  const std::vector<uint32_t> ids = prompts_.Make(prompt_tokens, random);
  request.mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  request.set_max_tokens(static_cast<uint32_t>(output_tokens));
  request.set_ignore_eos(true);
  request.mutable_sampling()->set_seed(random());
  if (temperature_) request.mutable_sampling()->set_temperature(*temperature_);
  return request;
}

}  // namespace fmaserver::bench
