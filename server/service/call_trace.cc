#include "server/service/call_trace.h"

namespace fmaserver::service {

TracedRequest ToTrace(const engine::GenerateRequest& request) {
  const engine::SamplingParams& sampling = request.sampling;
  return {.n = request.n,
          .max_tokens = request.max_tokens,
          .temperature = sampling.temperature,
          .top_k = sampling.top_k,
          .top_p = sampling.top_p,
          .frequency_penalty = sampling.frequency_penalty,
          .presence_penalty = sampling.presence_penalty,
          .seed = sampling.seed,
          .stop = request.stop};
}

}  // namespace fmaserver::service
