// Requests of the wire become the service's, parsed once, here at the edge.
//
// Text stays text, and nothing is added to it. What the wire alone can get wrong (numbers that do
// not fit, ids past the vocabulary) is refused here; the service and the engine check the rest.
#pragma once

#include "absl/status/statusor.h"
#include "fma/v1/encoders.pb.h"
#include "fma/v1/generation.pb.h"
#include "server/service/encode_request.h"
#include "server/service/generate_request.h"
#include "server/service/tokens.h"

namespace fmaserver::rpc {

/// INVALID_ARGUMENT names field, found and allowed.
absl::StatusOr<service::GenerateRequest> FromWire(v1::GenerateRequest message,
                                                  const service::Vocabulary& vocabulary);
absl::StatusOr<service::GenerateRequest> FromWire(v1::ChatRequest message,
                                                  const service::Vocabulary& vocabulary);
absl::StatusOr<service::ScoreRequest> FromWire(v1::ScoreRequest message,
                                               const service::Vocabulary& vocabulary);
absl::StatusOr<service::EncodeRequest> FromWire(v1::EmbedRequest message,
                                                const service::Vocabulary& vocabulary);
absl::StatusOr<service::EncodeRequest> FromWire(v1::FillMaskRequest message,
                                                const service::Vocabulary& vocabulary);

}  // namespace fmaserver::rpc
