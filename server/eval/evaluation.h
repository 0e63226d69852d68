// How likely a model finds the tokens of a text, measured window by window.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "server/engine/model.h"

namespace fmaserver::eval {

struct EvaluationOptions {
  int64_t context = 0;     ///< tokens of a window, each read from scratch; 0: all in one
  int32_t chunk = 256;     ///< tokens fed per step; 1 goes through the incremental cache one by one
  bool opens = true;       ///< units of the far past, from an archive, where the model does
  int64_t park_every = 0;  ///< tokens after which the state is parked and taken back; 0: never
  std::optional<kernels::CacheType> parked_type = {};  ///< of park_every; absent: as in the slot
};

struct Evaluation {
  int64_t tokens = 0;         ///< fed
  int64_t scored_tokens = 0;  ///< all but the first of each window
  double nats = 0;            ///< -sum of ln p over the scored tokens
  double seconds = 0;
};

struct EvaluationHooks {
  /// Gets the logits of the tokens that were just fed, [rows, V], in order.
  std::function<void(std::span<const float> logits)> on_logits;
  /// Gets -ln p of the tokens that were just scored, in order.
  std::function<void(std::span<const float> nats)> on_losses;
  std::function<void(const Evaluation& so_far)> on_progress;
};

/// `tokens` are one or more. An archive lies in ordinary memory. INVALID_ARGUMENT for a token
/// outside [0, V), a window longer than the model's learned positions, or a parked type that is
/// larger than the slot's.
absl::StatusOr<Evaluation> Evaluate(engine::Model& model, std::span<const int32_t> tokens,
                                    const EvaluationOptions& options, const EvaluationHooks& hooks);

}  // namespace fmaserver::eval
