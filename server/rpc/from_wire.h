// Requests from the wire become valid engine requests, parsed once, here at the edge.
//
// Text is encoded on the calling thread, and nothing is added to it: no token at the beginning or
// the end. Ranges that the engine knows (sampling, length) are left to Engine::Submit.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fma/v1/generation.pb.h"
#include "model_loader/tokenizer.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"

namespace fmaserver::rpc {

/// What turns text and ids of the wire into tokens. Views: valid while the engine lives.
struct Vocabulary {
  const model::Tokenizer* tokenizer = nullptr;  ///< null: the model is served by token ids
  int64_t size = 0;                             ///< V
};

Vocabulary VocabularyOf(const engine::Engine& engine);

/// All of these: INVALID_ARGUMENT names field, found and allowed; FAILED_PRECONDITION when text
/// meets a model without a tokenizer.
absl::StatusOr<std::vector<int32_t>> TokensFromText(std::string_view text,
                                                    const Vocabulary& vocabulary);
absl::StatusOr<std::vector<int32_t>> TokensFromIds(
    absl::string_view field, const google::protobuf::RepeatedField<uint32_t>& ids,
    const Vocabulary& vocabulary);
/// The prompt is empty only for a session that brings its own tokens. `tenant` and cache_salt make
/// the scope of the prefix cache.
absl::StatusOr<engine::GenerateRequest> FromWire(const v1::GenerateRequest& request,
                                                 absl::string_view tenant,
                                                 const Vocabulary& vocabulary);
inline constexpr size_t kMaxCacheSaltBytes = 256;
absl::StatusOr<engine::ScoreRequest> FromWire(const v1::ScoreRequest& request,
                                              const Vocabulary& vocabulary);

}  // namespace fmaserver::rpc
