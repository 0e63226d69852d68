// Tokens with their log-probabilities, as JSON.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <nlohmann/json.hpp>

#include "fma/v1/generation.pb.h"

namespace fmaserver::client {

/// An array of objects: token_id, token, logprob.
nlohmann::json AlternativesToJson(
    const google::protobuf::RepeatedPtrField<v1::TokenLogprob>& alternatives);

/// An object: event, token_id, token, logprob (null where there is none), and top if there are any.
nlohmann::json TokenScoreToJson(const char* event, const v1::TokenScore& score);

}  // namespace fmaserver::client
