// The alternatives to a token, as JSON.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <nlohmann/json.hpp>

#include "fma/v1/generation.pb.h"

namespace fmaserver {

/// An array of objects: token_id, token, logprob.
nlohmann::json AlternativesToJson(
    const google::protobuf::RepeatedPtrField<v1::TokenLogprob>& alternatives);

}  // namespace fmaserver
