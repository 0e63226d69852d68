// Requests that have been checked. Only Validate (validate.h) makes them, so that nothing unchecked
// reaches a sequence.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model_loader/model_config.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

/// Valid for the model whose config it was checked against.
class ValidGenerateRequest {
 public:
  const GenerateRequest* operator->() const { return &request_; }
  const GenerateRequest& operator*() const { return request_; }

  uint64_t seed() const { return seed_; }  ///< the request's, or one drawn at random
  /// Tokens of the model that end the text.
  const std::vector<int32_t>& eos_tokens() const { return eos_tokens_; }
  /// All tokens that end the text: eos_tokens() and the request's.
  const std::vector<int32_t>& stop_tokens() const { return stop_tokens_; }

 private:
  friend absl::StatusOr<ValidGenerateRequest> Validate(GenerateRequest request,
                                                       const model::ModelConfig& config);
  ValidGenerateRequest(GenerateRequest request, uint64_t seed, std::vector<int32_t> eos_tokens)
      : request_(std::move(request)),
        seed_(seed),
        eos_tokens_(std::move(eos_tokens)),
        stop_tokens_(eos_tokens_) {
    stop_tokens_.insert(stop_tokens_.end(), request_.stop_token_ids.begin(),
                        request_.stop_token_ids.end());
  }

  GenerateRequest request_;
  uint64_t seed_;
  std::vector<int32_t> eos_tokens_;
  std::vector<int32_t> stop_tokens_;
};

/// The same for scoring.
class ValidScoreRequest {
 public:
  const ScoreRequest* operator->() const { return &request_; }
  const ScoreRequest& operator*() const { return request_; }

 private:
  friend absl::StatusOr<ValidScoreRequest> Validate(ScoreRequest request,
                                                    const model::ModelConfig& config);
  explicit ValidScoreRequest(ScoreRequest request) : request_(std::move(request)) {}

  ScoreRequest request_;
};

}  // namespace fmaserver::engine
