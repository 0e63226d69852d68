// The service's events and answers as messages of the wire.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <span>

#include "fma/v1/encoders.pb.h"
#include "fma/v1/generation.pb.h"
#include "model_loader/tokenizer.h"
#include "server/models/served_model.h"
#include "server/service/encode_event.h"
#include "server/service/generate_event.h"
#include "server/service/score_event.h"

namespace fmaserver::rpc {

/// `tokenizer` may be null: then tokens come without their bytes.
v1::GenerateResponse ToWire(const service::GenerateEvent& event, const model::Tokenizer* tokenizer);
v1::ScoreResponse ToWire(const service::ScoreEvent& event, const model::Tokenizer* tokenizer);

/// The same event, of the one call and of the other.
v1::EmbedResponse EmbeddingToWire(const service::EncodeEvent& event);
v1::FillMaskResponse FilledToWire(const service::EncodeEvent& event,
                                  const model::Tokenizer* tokenizer);

/// The bytes of a TokenizeResponse, made without the message: as such it would take 50 bytes and
/// more for each token.
grpc::ByteBuffer SerializeTokens(std::span<const int32_t> tokens,
                                 const model::Tokenizer& tokenizer);

/// The answer of GetModel: the model, its limits and what one sequence costs.
v1::Model DescribeModel(const models::ServedModel& served, const service::Share& share);

}  // namespace fmaserver::rpc
